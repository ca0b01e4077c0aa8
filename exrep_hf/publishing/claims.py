"""The figures of a card that can be checked: the model-index of its metadata, and `.eval_results`."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData, parse_eval_result_entries

from exrep_hf.data.loading import HUB_NAMES, is_on_the_hub
from exrep_hf.publishing.texts import CARD_NAME, EVAL_RESULTS, files_of_results, read_card, read_entries
from exrep_hf.training.metrics import METRIC_TITLES

# Share of images whose two best classes lie so near each other that rounding decides: on another machine, with other
# versions, each may be answered otherwise, independently of the others.
_NEAR_TIES = 5e-4
# Of what comes of near ties, so many standard deviations above the mean are allowed.
_DEVIATIONS = 3
# How far confidences themselves may shift.
_CALIBRATION = 0.003
METRIC_NAMES = METRIC_TITLES | {"expected_calibration_error": "Expected calibration error"}
_TOLERANCE = re.compile(r"tolerance (\d+(?:\.\d+)?)")
_SPLIT = re.compile(r"split ([\w.]*\w)")


@dataclass(frozen=True)
class Claim:
    """One figure.

    Attributes:
        place: where it stands: `model-index`, or a file of `.eval_results`.
        dataset: name of the data set.
        config: its configuration; None where the claim doesn't say.
        split: of it; None where the claim doesn't say.
        metric: one of `METRIC_NAMES`, or another's.
        value: in [0, 1].
        tolerance: what a repetition may differ by, as stated; None where the claim doesn't say.
        revision: of the data set; None where the claim doesn't say.
    """

    place: str
    dataset: str
    config: str | None
    split: str | None
    metric: str
    value: float
    tolerance: float | None
    revision: str | None = None


def short_name(dataset: str) -> str:
    """Return what we call a data set of the Hub."""
    return next((short for short, name in HUB_NAMES.items() if name == dataset), dataset)


def hub_name(dataset: str) -> str | None:
    """Return a data set's name on the Hub; None if it has none that is known."""
    return dataset if is_on_the_hub(dataset) else HUB_NAMES.get(dataset)


def images_by_rounding(num_images: int) -> int:
    """Return how many images may be answered otherwise by the same weights elsewhere: binomial, of rare near ties."""
    expected = _NEAR_TIES * num_images
    return math.floor(expected + _DEVIATIONS * math.sqrt(expected))


def tolerance(metric: str, num_images: int) -> float:
    """Return what evaluating the same weights again may differ by; 0 for figures that are not ours.

    Args:
        metric: one of `METRIC_NAMES`.
        num_images: that it is measured on.
    """
    if metric not in METRIC_NAMES:
        return 0.0
    # Rounded up: shares are seldom decimal numbers.
    share = max(1, math.ceil(1e4 * images_by_rounding(num_images) / max(1, num_images))) / 1e4
    return share if metric in METRIC_TITLES else round(_CALIBRATION + share, 4)


def _stated(given: Any) -> float | None:
    # Nothing is larger than NaN.
    return None if given is None else max(0.0, float(given))


def _figure(value: Any) -> float:
    """Return a claimed value."""
    try:
        figure = float(value)
    except OverflowError:
        figure = math.inf
    if not math.isfinite(figure):
        raise ValueError(f"a figure is {figure}; expected a finite number")
    return figure


def read_claims(folder: Path) -> list[Claim]:
    """Return all figures that a model's folder claims.

    Raises:
        ValueError: if a card or file of results can't be read, or a figure is no finite number.
    """
    claims = []
    try:
        data = ModelCardData(**read_card(folder / CARD_NAME, folder).metadata)
        for result in data.eval_results or ():
            stated = _stated((result.metric_args or {}).get("tolerance"))
            images = (result.dataset_type, result.dataset_config, result.dataset_split)
            facts = (*images, result.metric_type, _figure(result.metric_value), stated, result.dataset_revision)
            claims.append(Claim("model-index", *facts))
        for path in files_of_results(folder):
            content = read_entries(path, folder)
            # The Hub's reader passes over such entries, which would be claims that nobody checks.
            if any("error" in each for each in content):
                raise ValueError(f"an entry of {path.name} is marked as an error")
            for entry in parse_eval_result_entries(content):
                notes = f"{entry.notes or ''};"
                found, split = _TOLERANCE.search(notes), _SPLIT.search(notes)
                stated = _stated(found and found[1])
                place = f"{EVAL_RESULTS}/{path.name}"
                images = (entry.dataset_id, None, split and split[1])
                facts = (*images, entry.task_id, _figure(entry.value), stated, entry.dataset_revision)
                claims.append(Claim(place, *facts))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"The claims of {str(folder)!r} can't be read ({error}).") from error
    return claims
