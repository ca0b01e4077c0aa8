"""Publishing on the Hub."""

from exrep_hf.publishing.card import make_model_card

__all__ = ["make_model_card"]
