"""The images that the claims of a card are about."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from exrep_hf.arguments import DataArguments, EvaluationArguments
from exrep_hf.data.idx import has_idx_files
from exrep_hf.data.loading import NAMES
from exrep_hf.data.partition import load_partition
from exrep_hf.publishing.claims import Claim, hub_name, short_name
from exrep_hf.publishing.evaluate_student import labelled_images, with_classes_of
from exrep_hf.report import RESULTS_NAME

# Stands for the images that `results.json` speaks of.
OWN = (None,)


def check_names(results: dict[str, Any]) -> None:
    """Raise a `ValueError` if `results.json` names one data set and its settings another."""
    settings, facts = results["configuration"]["data"], results["dataset"]
    for loaded, claimed in ((settings["dataset"], facts["name"]), (hub_name(settings["dataset"]), facts["hub_name"])):
        if claimed is not None and loaded != claimed:
            raise ValueError(
                f"`{RESULTS_NAME}` claims figures on {claimed!r}, its settings name {loaded!r}. It contradicts itself."
            )


def own_name(results: dict[str, Any]) -> str:
    """Return what cards call the data set of `results.json`."""
    return results["dataset"]["hub_name"] or results["dataset"]["name"]


def images_of(claim: Claim, results: dict[str, Any]) -> tuple[str | None, ...]:
    """Return what tells the images of a claim from others: data set, configuration, split, revision."""
    facts, config = results["dataset"], results["configuration"]["data"].get("dataset_config_name")
    # Without a split it is about whole ones, as its readers will think.
    same_part = claim.split == facts["part"] or (claim.split is None and facts["split"] is not None)
    if claim.dataset == own_name(results) and same_part and (claim.config, claim.revision) == (config, None):
        return OWN
    return claim.dataset, claim.config, claim.split, claim.revision


def _located(name: str, place: str | None, data_dir: str | None) -> tuple[str, str | None, bool]:
    """Return what to load for a data set that a card names, from which folder, and whether that may be local."""
    short = short_name(name)
    if place is None:
        return short, data_dir, False
    if short in NAMES and has_idx_files(Path(place).expanduser()):
        return short, place, False
    return place, data_dir, True


def other_images(
    claim: Claim, network: PreTrainedModel, place: str | None, data_dir: str | None
) -> tuple[Dataset, tuple[str, str]]:
    """Return the images of a data set, or split, that `evaluate_student.py` was run on."""
    if claim.revision is not None:
        raise ValueError(f"it is about revision {claim.revision!r} of the data set, and the newest would be measured.")
    source, folder, may_be_path = _located(claim.dataset, place, data_dir)
    args = EvaluationArguments("", source, claim.split or "test", data_dir=folder)
    args.dataset_config_name = claim.config
    return labelled_images(args, network, may_be_path)


def own_images(
    results: dict[str, Any], network: PreTrainedModel, dataset: str | None, data_dir: str | None
) -> Dataset:
    """Return the images that `results.json` speaks of, labelled as the network numbers its classes."""
    return own_parts(results, network, dataset, data_dir)[1]


def own_parts(
    results: dict[str, Any], network: PreTrainedModel, dataset: str | None, data_dir: str | None
) -> tuple[Dataset, Dataset]:
    """Return the public training images of the published seed, and the images of `own_images`."""
    settings, facts = dict(results["configuration"]["data"]), results["dataset"]
    name, inside = settings["dataset"], settings.pop("data_dir", None)
    # What settings name is a place on the machine that trained, or a folder inside a data set on the Hub.
    inside = inside if "/" in name and dataset is None else None
    settings["dataset"], settings["data_dir"], may_be_path = _located(name, dataset, data_dir or inside)
    # Nobody is judged on them; those of other data sets are among the ones that validation images are drawn from.
    settings.pop("extra_images", None)
    others = settings.pop("other_datasets", [])
    if settings.get("evaluate_on") == "validation":
        settings["dataset"] = [settings["dataset"], *others]
    elif others:
        # How many of all are public is of no consequence to test images.
        settings.pop("num_public", None)
    try:
        data = load_partition(DataArguments(**settings), may_be_path=may_be_path)
    except ValueError as error:
        here = dataset is None and Path(name).exists()
        # A card must not open what happens to lie where it is read.
        remedy = f"If they are what lies here, add `--dataset {name}`." if here else "Give the place as `--dataset`."
        raise ValueError(f"The data set of `{RESULTS_NAME}`: {error} {remedy}") from error
    public, images = data.parts(results["published"]["seed"])
    found = (len(images), data.evaluated_split, data.evaluated_part)
    if found != (claimed := tuple(facts[key] for key in ("num_evaluated", "split", "part"))):
        raise ValueError(
            f"`{RESULTS_NAME}` claims (images, split, part) {claimed}, and its settings give {found}. It contradicts "
            "itself."
        )
    return public, with_classes_of(network, images, "label", name, data.args.class_rule())
