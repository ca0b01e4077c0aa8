"""The figures of a card that can be checked: the model-index of its metadata, and `.eval_results`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    eval_result_entries_to_yaml,
    metadata_load,
    metadata_save,
    parse_eval_result_entries,
)
from huggingface_hub.repocard_data import eval_results_to_model_index

EVAL_RESULTS = ".eval_results"
# What evaluating again may differ by, on another machine with other versions.
TOLERANCES = {"accuracy": 0.002, "top5_accuracy": 0.002, "expected_calibration_error": 0.005}
METRIC_NAMES = {
    "accuracy": "Top-1 accuracy",
    "top5_accuracy": "Top-5 accuracy",
    "expected_calibration_error": "Expected calibration error",
}
# Data sets that we call by shorter names.
_HUB_NAMES = {"fashion_mnist": "zalando-datasets/fashion_mnist"}
_TOLERANCE = re.compile(r"tolerance ([\d.]+)")
_SPLIT = re.compile(r"split (\S+?)[,;.]")


@dataclass(frozen=True)
class Claim:
    """One figure.

    Attributes:
        place: where it stands: `model-index`, or a file of `.eval_results`.
        dataset: name of the data set.
        split: of it; None where the claim doesn't say.
        metric: one of `METRIC_NAMES`, or another's.
        value: in [0, 1].
        tolerance: what a repetition may differ by, as stated, and at most ours for such figures.
    """

    place: str
    dataset: str
    split: str | None
    metric: str
    value: float
    tolerance: float


def hub_name(dataset: str) -> str | None:
    """A data set's name on the Hub; None if it has none that is known."""
    return dataset if "/" in dataset else _HUB_NAMES.get(dataset)


def model_index(
    dataset: str, split: str, figures: dict[str, Any], identity: str | None, config: str | None = None
) -> list[EvalResult]:
    """Figures as the model-index of a card holds them, with what a repetition may differ by.

    Args:
        dataset: its name.
        split: of it.
        figures: by name; those of `METRIC_NAMES` are taken.
        identity: its name on the Hub, if it is from there.
        config: its configuration.
    """
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=identity or dataset,
            dataset_name=dataset,
            dataset_config=config,
            dataset_split=split,
            metric_type=metric,
            metric_name=title,
            metric_value=figures[metric],
            metric_args={"tolerance": TOLERANCES[metric]},
        )
        for metric, title in METRIC_NAMES.items()
        if metric in figures
    ]


def write_eval_results(folder: Path, identity: str, split: str, figures: dict[str, Any]) -> Path:
    """Write figures as a file of `.eval_results`, beside those of others.

    Args:
        folder: of the model.
        identity: the data set's name on the Hub.
        split: of it, evaluated as a whole.
        figures: by name; those of `METRIC_NAMES` are taken.
    """
    path = folder / EVAL_RESULTS / f"{identity.split('/')[-1]}.yaml"
    notes = {metric: f"split {split}; tolerance {TOLERANCES[metric]}" for metric in METRIC_NAMES}
    ours = [
        EvalResultEntry(dataset_id=identity, task_id=metric, value=figures[metric], notes=notes[metric])
        for metric in METRIC_NAMES
        if metric in figures
    ]
    new = eval_result_entries_to_yaml(ours)
    there = (yaml.safe_load(path.read_text(encoding="utf-8")) or []) if path.is_file() else []
    # Ours are known by all but their value; those of others have a source, a revision, a token, or other notes.
    marks = [{name: value for name, value in entry.items() if name != "value"} for entry in new]
    kept = [entry for entry in there if {name: entry[name] for name in entry if name != "value"} not in marks]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump([*kept, *new], sort_keys=False), encoding="utf-8")
    return path


def merge_into_card(path: Path, name: str, results: Sequence[EvalResult]) -> None:
    """Put figures into a card's model-index: in the place of older ones of ours, beside all others.

    Works on the YAML itself: reading and writing entries would join those of different sources.

    Args:
        path: of the card.
        name: of the model, where the card has no model-index yet.
        results: the figures.
    """
    metadata = metadata_load(path) or {}
    models = metadata.get("model-index") or [{"name": name, "results": []}]
    metadata["model-index"] = models
    metrics = {result.metric_type for result in results}
    ours = eval_results_to_model_index(name, list(results))[0]["results"]
    kept = []
    for entry in models[0]["results"]:
        if any(_of_same_images(entry, new) for new in ours):
            others = [metric for metric in entry["metrics"] if metric["type"] not in metrics or not _is_ours(metric)]
            entry = entry | {"metrics": others}
        if entry["metrics"]:
            kept.append(entry)
    models[0]["results"] = [*kept, *ours]
    metadata_save(path, metadata)


def _is_ours(metric: dict[str, Any]) -> bool:
    return "tolerance" in (metric.get("args") or {}) and not metric.get("verified")


def _of_same_images(old: dict[str, Any], new: dict[str, Any]) -> bool:
    keys = ("type", "config", "split", "revision")
    same = all(old["dataset"].get(key) == new["dataset"].get(key) for key in keys)
    return same and old["task"]["type"] == new["task"]["type"] and "source" not in old


def _bounded(metric: str, stated: Any) -> float:
    """A stated tolerance: a card must not excuse itself."""
    most = TOLERANCES.get(metric, 0.0)
    return most if stated is None else min(max(float(stated), 0.0), most)


def read_claims(folder: Path) -> list[Claim]:
    """All figures that a model's folder claims.

    Raises:
        ValueError: if a card or file of results can't be read, or a figure is no number.
    """
    claims = []
    try:
        card = ModelCard.load(folder / "README.md")
        for result in card.data.get("eval_results") or ():
            tolerance = _bounded(result.metric_type, (result.metric_args or {}).get("tolerance"))
            split = result.dataset_split
            facts = (result.dataset_type, split, result.metric_type, float(result.metric_value), float(tolerance))
            claims.append(Claim("model-index", *facts))
        for path in sorted((folder / EVAL_RESULTS).glob("*")):
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or []
            # The Hub's reader passes over such entries, which would be claims that nobody checks.
            if any("error" in each for each in content):
                raise ValueError(f"an entry of {path.name} is marked as an error")
            for entry in parse_eval_result_entries(content):
                notes = f"{entry.notes or ''};"
                stated, split = _TOLERANCE.search(notes), _SPLIT.search(notes)
                tolerance = _bounded(entry.task_id, stated and stated[1])
                place = f"{EVAL_RESULTS}/{path.name}"
                facts = (entry.dataset_id, split and split[1], entry.task_id, float(entry.value), tolerance)
                claims.append(Claim(place, *facts))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ValueError(f"The claims of {str(folder)!r} can't be read ({error}).") from error
    return claims
