"""Does a student do what its card says?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from exrep_hf.data import Preprocessing, class_names, names_or_numbers
from exrep_hf.evaluation.predict import classification_report, predict
from exrep_hf.publishing.card_body import BodyFindings, check_body, notes
from exrep_hf.publishing.claimed_images import OWN, check_names, images_of, other_images, own_images, own_name
from exrep_hf.publishing.claims import METRIC_NAMES, Claim, read_claims, tolerance
from exrep_hf.publishing.evaluate_student import load_published
from exrep_hf.publishing.student import fetch_student
from exrep_hf.publishing.texts import CARD_NAME, read_card, read_results
from exrep_hf.report import RESULTS_NAME

# Of many, as many are told.
_CONTRADICTIONS = 50


@dataclass(frozen=True)
class Verdict:
    """A claim, what was measured, and whether they agree.

    Attributes:
        claim: it.
        measured: None where the claim can't be checked.
        reason: why not.
        num_images: that it was measured on.
    """

    claim: Claim
    measured: float | None
    reason: str | None = None
    num_images: int = 0

    @property
    def allowed(self) -> float:
        """What the figure may differ by: as the claim states, and at most ours, for a card must not excuse itself."""
        most = tolerance(self.claim.metric, self.num_images)
        return most if self.claim.tolerance is None else min(self.claim.tolerance, most)

    @property
    def holds(self) -> bool:
        """Whether the figure is reproduced within its tolerance."""
        return self.measured is not None and abs(self.measured - self.claim.value) <= self.allowed


def verify_card(
    model: str,
    revision: str | None = None,
    dataset: str | None = None,
    places: Mapping[str, str] | None = None,
    data_dir: str | None = None,
    device: torch.device | None = None,
) -> list[Verdict]:
    """Evaluate a student again, and compare with every figure of its model-index and `.eval_results`.

    Figures of the card's text are compared with those of `results.json`; what differs is among the verdicts, which
    don't hold. `card_notes` says what of the text is measured by nobody.

    The images are those that `results.json` beside the card names, split, selection and seed too; figures of other
    data sets are measured on the whole split that they name, or `test`.

    Args:
        model: a folder, or a name on the Hub.
        revision: branch, tag or commit on the Hub.
        dataset: where the data set of `results.json` lies, if not on the Hub.
        places: the same of others, by the names that the card gives them.
        data_dir: folder of the files of the data set in `results.json`, or inside it.
        device: to run on; the CPU where not given.

    Raises:
        ValueError: if there is no model, no card or no claim, or the data set of `results.json` is not found, or a
            place is given for a data set of which nothing is claimed.
    """
    folder = fetch_student(model, revision)
    claims = read_claims(folder)
    if not claims:
        raise ValueError(f"The card of {model!r} claims nothing: it has no model-index and no `.eval_results`.")
    results, places = _results(folder), places or {}
    check_names(results)
    if unknown := sorted(set(places) - {claim.dataset for claim in claims}):
        named = sorted({claim.dataset for claim in claims})
        raise ValueError(f"A place is given for {unknown}; the card speaks of the data sets {named}.")
    own = own_name(results)
    contradicted = _contradicted(results, _body(folder, results), own)
    network, preprocessing = load_published(folder, device or torch.device("cpu"))
    claims = [*claims, *_own_claims(results, own)]
    measured: dict[tuple[str | None, ...], dict[str, Any] | str] = {}
    verdicts = []
    for claim in claims:
        images = images_of(claim, results)
        if images not in measured:
            if images == OWN:
                rows, columns = own_images(results, network, dataset, data_dir), ("image", "label")
                measured[images] = _figures(network, preprocessing, rows, columns)
            else:
                place = (dataset, data_dir) if claim.dataset == own else (places.get(claim.dataset), None)
                try:
                    rows, columns = other_images(claim, network, *place)
                    measured[images] = _figures(network, preprocessing, rows, columns)
                # Whatever is wrong with the data sets of others, the other figures can be measured.
                except Exception as error:
                    measured[images] = f"can't be measured: {error}"
        figures = measured[images]
        if isinstance(figures, str):
            verdicts.append(Verdict(claim, None, figures))
        elif claim.metric not in METRIC_NAMES:
            verdicts.append(Verdict(claim, None, "a figure that is not measured here"))
        else:
            # Of five classes or fewer the right one is always among five.
            verdicts.append(Verdict(claim, figures.get(claim.metric, 1.0), None, figures["num_images"]))
    return [*verdicts, *contradicted]


def card_notes(model: str, revision: str | None = None) -> list[str]:
    """Return, a line each, what of a card's text `verify_card` can't measure, and what is of others.

    Args:
        model: a folder, or a name on the Hub.
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: as `verify_card`.
    """
    folder = fetch_student(model, revision)
    return notes(_body(folder, _results(folder)))


def verdict_table(verdicts: list[Verdict]) -> list[tuple[str, ...]]:
    """Rows of place, data set, metric, claimed, measured, and verdict, as text; the first are the titles."""
    rows: list[tuple[str, ...]] = [("where", "data set", "figure", "claimed", "measured", "verdict")]
    for verdict in verdicts:
        claim = verdict.claim
        measured = "–" if verdict.measured is None else f"{verdict.measured:.4f}"
        told = "holds" if verdict.holds else verdict.reason or f"differs by more than {verdict.allowed}"
        claimed = "–" if math.isnan(claim.value) else f"{claim.value:.4f}"
        rows.append((claim.place, claim.dataset, claim.metric, claimed, measured, told))
    return rows


def _body(folder: Path, results: dict[str, Any]) -> BodyFindings:
    return check_body(read_card(folder / CARD_NAME, folder).text, results, folder.name)


def _contradicted(results: dict[str, Any], found: BodyFindings, own: str) -> list[Verdict]:
    """Return what the text says otherwise than `results.json`, as claims that don't hold."""
    config, part = results["configuration"]["data"].get("dataset_config_name"), results["dataset"]["part"]
    return [
        Verdict(Claim(CARD_NAME, own, config, part, each.place, each.value, 0.0), None, str(each))
        for each in found.contradictions[:_CONTRADICTIONS]
    ]


def _results(folder: Path) -> dict[str, Any]:
    try:
        results = read_results(folder)
        missing = {"name", "hub_name", "split", "part", "num_evaluated"} - results["dataset"].keys()
        missing |= {"accuracy", "expected_calibration_error"} - results["published"].keys()
        if missing or not isinstance(results["configuration"]["data"]["dataset"], str):
            raise KeyError(f"dataset: {sorted(missing)}")
        int(results["published"]["seed"]), [float(value) for value in _published(results).values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{str(folder)!r} has no readable `{RESULTS_NAME}` ({error!r}): it says what images the claims are about."
        ) from error
    return results


def _published(results: dict[str, Any]) -> dict[str, Any]:
    return {metric: results["published"][metric] for metric in METRIC_NAMES if metric in results["published"]}


def _own_claims(results: dict[str, Any], own: str) -> list[Claim]:
    """Return the figures from which the card was made."""
    config, part = results["configuration"]["data"].get("dataset_config_name"), results["dataset"]["part"]
    return [
        Claim(RESULTS_NAME, own, config, part, metric, float(value), None)
        for metric, value in _published(results).items()
    ]


def _figures(
    network: PreTrainedModel, preprocessing: Preprocessing, images: Dataset, columns: tuple[str, str]
) -> dict[str, Any]:
    logits, labels = predict(network, preprocessing, images, columns)
    names = names_or_numbers(class_names(network.config), logits.shape[1])
    return classification_report(logits, labels, names) | {"num_images": len(labels)}
