"""Figures put into cards: the model-index of their metadata, and `.eval_results`, beside what others wrote there."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index

from exrep_hf.files import replacing, write_bytes
from exrep_hf.finite import check_figures
from exrep_hf.publishing.claims import METRIC_NAMES, tolerance
from exrep_hf.publishing.texts import EVAL_RESULTS, read_card, read_entries


def model_index(
    dataset: str,
    split: str,
    figures: dict[str, Any],
    num_images: int,
    identity: str | None,
    config: str | None = None,
) -> list[EvalResult]:
    """Figures as the model-index of a card holds them, with what a repetition may differ by.

    Args:
        dataset: its name.
        split: of it.
        figures: by name; those of `METRIC_NAMES` are taken.
        num_images: that they were measured on.
        identity: its name on the Hub, if it is from there.
        config: its configuration.

    Raises:
        NonFiniteError: if one of the figures is not finite.
    """
    check_figures({metric: figures[metric] for metric in METRIC_NAMES if metric in figures}, "The card")
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
            metric_args={"tolerance": tolerance(metric, num_images)},
        )
        for metric, title in METRIC_NAMES.items()
        if metric in figures
    ]


def write_eval_results(folder: Path, identity: str, split: str, figures: dict[str, Any], num_images: int) -> Path:
    """Write figures as a file of `.eval_results`, beside those of others.

    Args:
        folder: of the model.
        identity: the data set's name on the Hub.
        split: of it, evaluated as a whole.
        figures: by name; those of `METRIC_NAMES` are taken.
        num_images: of the split.

    Raises:
        NonFiniteError: if one of them is not finite.
    """
    check_figures({metric: figures[metric] for metric in METRIC_NAMES if metric in figures}, f"`{EVAL_RESULTS}`")
    path = folder / EVAL_RESULTS / f"{identity.split('/')[-1]}.yaml"
    notes = {metric: f"split {split}; tolerance {tolerance(metric, num_images)}" for metric in METRIC_NAMES}
    ours = [
        EvalResultEntry(dataset_id=identity, task_id=metric, value=figures[metric], notes=notes[metric])
        for metric in METRIC_NAMES
        if metric in figures
    ]
    new = eval_result_entries_to_yaml(ours)
    _save_entries(path, [*_others(read_entries(path), new), *new])
    return path


def keep_eval_results(path: Path, there: Path) -> None:
    """Add to a file of `.eval_results` what another of the same student holds besides; whole or not at all."""
    here = read_entries(path)
    if added := _others(read_entries(there), here):
        _save_entries(path, [*here, *added])


def are_all_ours(path: Path) -> bool:
    """Return whether a file of `.eval_results` holds nothing but what this package wrote."""
    return all("source" not in entry and "tolerance" in str(entry.get("notes")) for entry in read_entries(path))


def _others(entries: list[dict[str, Any]], than: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries that stand for other figures: known by all but their value (a source, a revision, a token, notes)."""
    marks = [{name: value for name, value in entry.items() if name != "value"} for entry in than]
    return [entry for entry in entries if {name: entry[name] for name in entry if name != "value"} not in marks]


def _save_entries(path: Path, entries: list[dict[str, Any]]) -> None:
    write_bytes(yaml.safe_dump(entries, sort_keys=False).encode(), path)


def merge_into_card(path: Path, name: str, results: Sequence[EvalResult]) -> None:
    """Put figures into a card's model-index: instead of older ones of ours, beside all others.

    Works on the YAML itself: reading and writing entries would join those of different sources.

    Args:
        path: of the card.
        name: of the model, where the card has no model-index yet.
        results: the figures.
    """
    metadata = read_card(path).metadata
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


def keep_entries(path: Path, there: Path) -> bool:
    """Add to a card's model-index what an earlier card of the same weights holds beside it; whole or not at all.

    Returns:
        Whether there was something to add.
    """
    metadata, earlier = read_card(path).metadata, read_card(there).metadata
    models = metadata.get("model-index") or [{"name": path.parent.name, "results": []}]
    results = models[0]["results"]
    added = []
    for entry in (earlier.get("model-index") or [{"results": []}])[0]["results"]:
        here = [result for result in results if _of_same_images(entry, result)]
        measured = {metric["type"] for result in here for metric in result["metrics"]}
        metrics = entry.get("metrics") or []
        others = [metric for metric in metrics if metric["type"] not in measured or not _is_ours(metric)]
        new = entry | {"metrics": [metric for metric in others if not any(metric in each["metrics"] for each in here)]}
        if new["metrics"] and new not in results:
            added.append(new)
    if added:
        results.extend(added)
        metadata["model-index"] = models
        with replacing(path) as temporary:
            shutil.copy(path, temporary)
            metadata_save(temporary, metadata)
    return bool(added)


def _is_ours(metric: dict[str, Any]) -> bool:
    return "tolerance" in (metric.get("args") or {}) and not metric.get("verified")


def _of_same_images(old: dict[str, Any], new: dict[str, Any]) -> bool:
    keys = ("type", "config", "split", "revision")
    same = all(old["dataset"].get(key) == new["dataset"].get(key) for key in keys)
    return same and old["task"]["type"] == new["task"]["type"] and "source" not in old
