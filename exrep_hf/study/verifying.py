"""Does a student do what its card says?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from exrep_hf.arguments import DataArguments
from exrep_hf.data import class_names
from exrep_hf.evaluation.classifier import classification_report, predict
from exrep_hf.hub.claims import Claim, hub_name, read_claims
from exrep_hf.hub.student_repository import fetch_student
from exrep_hf.report import RESULTS_NAME
from exrep_hf.study.data import load_study_data
from exrep_hf.study.evaluating import load_published


@dataclass(frozen=True)
class Verdict:
    """A claim, what was measured, and whether they agree; `measured` is None where the claim can't be checked."""

    claim: Claim
    measured: float | None
    reason: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the figure is reproduced within its tolerance."""
        return self.measured is not None and abs(self.measured - self.claim.value) <= self.claim.tolerance


def verify_card(
    model: str,
    revision: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    device: torch.device | None = None,
) -> list[Verdict]:
    """Evaluate a student again, and compare with every figure of its model-index and `.eval_results`.

    The images are those that `results.json` beside the card names: split, selection and seed too.

    Args:
        model: a folder, or a name on the Hub.
        revision: branch, tag or commit on the Hub.
        dataset: where the card's data set lies, in the place of its name.
        data_dir: of it.
        device: to run on; the CPU where not given.

    Raises:
        ValueError: if there is no model, no card or no claim, or the data set is not found.
    """
    folder = fetch_student(model, revision)
    claims = read_claims(folder)
    if not claims:
        raise ValueError(f"The card of {model!r} claims nothing: it has no model-index and no `.eval_results`.")
    results = _results(folder)
    facts = results["dataset"]
    figures = _measure(folder, results, dataset, data_dir, device or torch.device("cpu"))
    verdicts = []
    for claim in claims:
        reason = None
        named = facts["split"] or f"part of {facts['evaluated_on']}"
        if claim.dataset != (facts["hub_name"] or facts["name"]):
            reason = f"of {claim.dataset}, which `{RESULTS_NAME}` does not name"
        elif claim.split not in (None, named):
            reason = f"of the split {claim.split}; `{RESULTS_NAME}` names {named}"
        elif claim.metric not in figures:
            reason = "a figure that is not measured here"
        verdicts.append(Verdict(claim, None if reason else figures[claim.metric], reason))
    return verdicts


def verdict_table(verdicts: list[Verdict]) -> list[tuple[str, ...]]:
    """Rows of place, data set, metric, claimed, measured, and verdict, as text; the first are the titles."""
    rows: list[tuple[str, ...]] = [("where", "data set", "figure", "claimed", "measured", "verdict")]
    for verdict in verdicts:
        claim = verdict.claim
        measured = "–" if verdict.measured is None else f"{verdict.measured:.4f}"
        told = "holds" if verdict.holds else verdict.reason or f"differs by more than {claim.tolerance}"
        rows.append((claim.place, claim.dataset, claim.metric, f"{claim.value:.4f}", measured, told))
    return rows


def _results(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(folder)!r} has no readable `{RESULTS_NAME}` ({error}), which says what images its claims are about."
        ) from error


def _measure(
    folder: Path, results: dict[str, Any], dataset: str | None, data_dir: str | None, device: torch.device
) -> dict[str, Any]:
    settings, facts = dict(results["configuration"]["data"]), results["dataset"]
    for loaded, claimed in ((settings["dataset"], facts["name"]), (hub_name(settings["dataset"]), facts["hub_name"])):
        if claimed is not None and loaded != claimed:
            raise ValueError(
                f"`{RESULTS_NAME}` claims figures on {claimed!r}, its settings name {loaded!r}. It contradicts itself."
            )
    settings["dataset"] = dataset or settings["dataset"]
    if data_dir is not None:
        settings["data_dir"] = data_dir
    elif dataset is not None or not Path(settings.get("data_dir", ".")).is_dir():
        # A place on the machine that trained.
        settings.pop("data_dir", None)
    data = load_study_data(DataArguments(**settings))
    _, images = data.parts(results["published"]["seed"])
    split = data.test_split if data.args.evaluate_on == "test" else None
    if (len(images), split) != (facts["num_evaluated"], facts["split"]):
        raise ValueError(
            f"`{RESULTS_NAME}` claims {facts['num_evaluated']} images of the split {facts['split']}, and its settings "
            f"give {len(images)} of {split}. It contradicts itself."
        )
    model, preprocessing = load_published(folder, device)
    logits, labels = predict(model, preprocessing, images, ("image", "label"))
    names = class_names(model.config) or [str(label) for label in range(logits.shape[1])]
    return classification_report(logits, labels, names)
