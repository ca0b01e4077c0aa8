"""From the records of runs to the content of `results.json`."""

from pathlib import Path
from statistics import mean
from typing import Any

from accelerate import PartialState
from torch import nn

from exrep_hf.data.partition import DataPartition
from exrep_hf.evaluation import inference_cost, mean_and_deviation
from exrep_hf.publishing.claims import hub_name
from exrep_hf.report import public_name, public_settings, without_places
from exrep_hf.study.arms import Arm
from exrep_hf.study.stages import Classifier, with_distiller
from exrep_hf.training.card_names import architecture

Record = dict[str, Any]


def describe_data(data: DataPartition, seed: int) -> dict[str, Any]:
    """Name and numbers of the images."""
    public, images = data.parts(seed)
    assert data.args.dataset is not None
    local = Path(data.args.dataset).expanduser().exists()
    name = hub_name(data.args.dataset)
    # A folder inside a data set of the Hub is not what others know by its name.
    partial = data.args.data_dir is not None and name == data.args.dataset
    return {
        "name": public_name(data.args.dataset),
        # Where it is the Hub's own, and the whole of one of its splits, figures can be compared with those of others.
        "hub_name": None if local or partial else name,
        "split": data.evaluated_split,
        "part": data.evaluated_part,
        "num_public": len(public),
        "num_private": data.num_private(seed),
        "other_names": [public_name(name) for name in data.args.other_datasets],
        "num_extra": 0 if data.extra is None else len(data.extra),
        "num_evaluated": len(images),
        "evaluated_on": data.args.evaluate_on,
        "num_labels": data.num_classes,
        "skipped_images": data.skipped,
    }


def _cost(model: nn.Module, student: Classifier) -> dict[str, float]:
    images = student.preprocessing
    # A run that is resumed when all of it is finished has moved nothing yet.
    nn.Module.to(model, PartialState().device)
    return inference_cost(model, (len(images.mean), images.height, images.width))


def network_cost(student: Classifier) -> dict[str, float]:
    """Return what a plain classifier costs at inference."""
    return _cost(student.classifier, student)


def summarise_arm(arm: Arm, runs: list[Record], start: Classifier) -> dict[str, Any]:
    """Means over seeds, cost at inference as trained, and the runs themselves."""
    removed = [run["without_distiller"] for run in runs if run["without_distiller"] is not None]
    return {
        "distiller": None if arm.model_args.distiller == "none" else arm.model_args.distiller,
        "changes": without_places(arm.changes),
        "objective": _objective(arm, runs[0]),
        **_over_seeds(runs),
        "without_distiller": _over_seeds(removed) if removed else None,
        "plain": arm.is_plain,
        "oracle": arm.is_oracle,
        "cost": _cost(with_distiller(start, arm.model_args), start),
        "runs": runs,
    }


def _objective(arm: Arm, run: Record) -> Record:
    """Return the terms that took part, with their weights, and how images were mixed: also what is a default today."""
    args = arm.args
    weights = {name: getattr(args, f"{name}_weight") for name in ("ce", "kd", "feature", "crd", "adversarial")}
    weights["feature"] = run["chosen"]["feature_weight"]
    terms: Record = {name: {"weight": weight} for name, weight in weights.items() if weight}
    if "ce" in terms:
        terms["ce"]["smoothing"] = args.label_smoothing_factor
    if "kd" in terms:
        terms["kd"]["temperature"] = args.temperature
    terms |= {name: {"class": term["class"], "weight": term["weight"]} for name, term in args.own_terms.items()}
    mixing = {"mixup": args.mixup, "cutmix": args.cutmix, "mix_rounds": run["chosen"]["mix_rounds"]}
    return {"terms": terms, **mixing}


def arm_settings(arm: Arm) -> dict[str, dict[str, Any]]:
    """Return what an arm was run with, apart from seed and places: what has to agree between runs of a table."""
    settings = {
        "model": public_settings(arm.model_args),
        "data": public_settings(arm.data_args),
        "training": public_settings(arm.args),
    }
    settings["training"].pop("seed", None)
    return settings


def _over_seeds(outcomes: list[Record]) -> dict[str, Any]:
    return {
        "accuracy": mean_and_deviation([outcome["after"]["accuracy"] for outcome in outcomes]),
        "gap_recovered": mean_and_deviation([outcome["gap_recovered"] for outcome in outcomes]),
        "data_gap_recovered": mean_and_deviation([outcome["data_gap_recovered"] for outcome in outcomes]),
    }


def summarise_teacher(
    name: str | None, kind: str | None, from_scratch: bool, runs: list[Record], cost: dict[str, float]
) -> Record:
    """Return the teacher: what it reaches on the images of the runs (the same for all seeds on a test split).

    `accuracy` is None where it has no classifier.
    """
    measured: Record = {"accuracy": None}
    if runs[0]["teacher"] is not None:
        measured = {metric: mean(run["teacher"][metric] for run in runs) for metric in runs[0]["teacher"]}
    known = {"name": public_name(name), "architecture": kind, "from_scratch": from_scratch}
    return known | measured | {"cost": cost}


def summarise_student(name: str | None, from_scratch: bool, runs: list[Record], start: Classifier) -> Record:
    """Return the student before distillation."""
    accuracy = mean_and_deviation([run["before"]["accuracy"] for run in runs])
    return {
        "name": public_name(name),
        "architecture": architecture(start.classifier),
        "from_scratch": from_scratch,
        "accuracy": accuracy,
        "cost": network_cost(start),
    }
