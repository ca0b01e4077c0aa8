"""Arms, seeds and stages: one method and its controls, run on equal terms."""

from exrep_hf.study.study import Settings, Study

__all__ = ["Settings", "Study"]
