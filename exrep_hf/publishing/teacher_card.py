"""What a network's card says about it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData, hf_hub_download
from huggingface_hub.errors import HTTPError  # of the client that this release uses

from exrep_hf.publishing.texts import CARD_NAME, read_card

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedFacts:
    """Licence and top-1 accuracy, in [0, 1]; None where a card doesn't tell."""

    license: str | None = None
    top1: float | None = None


def published_facts(name_or_path: str) -> PublishedFacts:
    """Read the card of a model, on the Hub or in a folder; one that can't be read tells nothing."""
    path = Path(name_or_path).expanduser()
    try:
        card = path / CARD_NAME if path.is_dir() else Path(hf_hub_download(name_or_path, CARD_NAME))
        data = ModelCardData(**read_card(card).metadata)
    except (HTTPError, OSError, ValueError, TypeError, AttributeError) as error:
        logger.info("No card of %s: %s", name_or_path, error)
        return PublishedFacts()
    claims = [
        float(result.metric_value)
        for result in data.eval_results or ()
        if result.metric_type == "accuracy"
        and isinstance(result.metric_value, int | float)
        and 0 <= result.metric_value <= 100
    ]
    # Some cards give percent.
    top1 = None if not claims else claims[0] / 100 if claims[0] > 1 else claims[0]
    # Some cards give several.
    licences = data.license if isinstance(data.license, list) else [data.license]
    return PublishedFacts(", ".join(each for each in licences if isinstance(each, str)) or None, top1)
