"""Networks that see images, with or without a classifier: found, and loaded whole."""

import os
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
)

from .classifier_heads import count_labels, find_head
from .whole_weights import NETWORK, check_whole, load_but_for_head, load_reported, load_whole, read_config

_CLASSIFIER = "ForImageClassification"
_TOWER, _POOLER = "vision_model.", "pooler."
# From what a tower pools to what is compared with text.
_PROJECTION = "visual_projection."
_REMEDY = "Use a checkpoint whose config.json belongs to its weights, or load the network yourself and pass it."


def has_classifier(model: nn.Module) -> bool:
    """Return whether a network is an image classifier; else it gives features alone."""
    get_classifier = getattr(getattr(model, "timm_model", model), "get_classifier", None)
    if get_classifier is not None:
        heads = get_classifier()
        heads = heads if isinstance(heads, tuple | nn.ModuleList) else (heads,)
        return not all(isinstance(head, nn.Identity) for head in heads)
    if not isinstance(model, PreTrainedModel) or any(_CLASSIFIER in each.__name__ for each in type(model).__mro__):
        return True
    # So transformers calls networks without a head; a layer of theirs may have as many outputs as there are classes.
    if type(model).__name__.endswith("Model"):
        return False
    try:
        find_head(model, count_labels(model))
    except ValueError:
        return False
    return True


def vision_tower(model: nn.Module) -> nn.Module:
    """Return the network that sees the images of a model with two towers; any other model is its own."""
    if not isinstance(model, PreTrainedModel) or _CLASSIFIER in type(model).__name__:
        return model
    tower: Any = getattr(model, "vision_model", None)
    if not isinstance(tower, PreTrainedModel):
        return model
    _keep_name(tower, model)
    return tower


def load_teacher_network(
    name_or_path: str | os.PathLike[str], revision: str | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """Load a classifier, or a network without one: what the weights of a checkpoint are.

    A classifier whose checkpoint has no weights for the head comes without it; of two towers the one for images comes.
    A pooler without weights is left out.

    Args:
        name_or_path: "timm/architecture.tag", any other name on the Hub, or a local folder.
        revision: branch, tag or commit on the Hub.
        dtype: of the weights; None: as they were saved.

    Returns:
        the network in `eval()`.

    Raises:
        ValueError: not found; of no images; or other weights than its configuration describes.
    """
    name = os.fspath(name_or_path)
    config = read_config(name, revision, NETWORK)
    if _names_classifier(config):
        return _load_classifier(name, config, revision, dtype).eval()
    _check_sees_images(name, config)
    model, report = load_reported(AutoModel, name, config, revision, dtype, NETWORK)
    tower = vision_tower(model)
    if tower is not model:
        # Text is never shown, and what is beside the tower never asked.
        report = {part: _within_tower(keys) for part, keys in report.items()}
    _leave_out_unused(model, report)
    try:
        check_whole(model, report, name, _REMEDY)
    except ValueError as error:
        # What there is besides may be its head.
        classifier = _load_if_classifier(name, config, revision, dtype) if report["unexpected_keys"] else None
        if classifier is None:
            raise error
        return classifier.eval()
    return tower.eval()


def _names_classifier(config: PreTrainedConfig) -> bool:
    """Return whether a checkpoint is said to be one of a classifier; where nothing is said, it is tried as one."""
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return False
    if isinstance(config, TimmWrapperConfig):
        return bool(config.num_labels)
    named = getattr(config, "architectures", None) or [_CLASSIFIER]
    return any(_CLASSIFIER in each for each in named)


def _load_classifier(
    name: str, config: PreTrainedConfig, revision: str | None, dtype: torch.dtype | None
) -> PreTrainedModel:
    found = load_but_for_head(name, config, revision, dtype)
    model = found.model
    if not found.lacks_head:
        return model
    if isinstance(config, TimmWrapperConfig):
        model.timm_model.reset_classifier(0)  # type: ignore[union-attr,operator]
        config.num_labels = 0
        return model
    below: Any = getattr(model, "vision_model", None) or model.base_model
    if below is model:
        raise ValueError(
            f"The checkpoint {name!r} has no weights for the head of a {type(model).__name__}, whose other layers are "
            "no network by themselves. Use a checkpoint whose head is trained."
        )
    _keep_name(below, model)
    return below


def _keep_name(part: Any, whole: PreTrainedModel) -> None:
    """Let a part of a model be known by the name that the whole was loaded from: cards and processors go by it."""
    if not getattr(part, "name_or_path", None):
        part.name_or_path = whole.name_or_path


def _check_sees_images(name: str, config: PreTrainedConfig) -> None:
    """Make sure, before weights are loaded, that a network of this type is shown images."""
    architecture = MODEL_MAPPING.get(type(config), None)
    kinds: Any = architecture if isinstance(architecture, tuple | list) else (architecture,)
    inputs = [each.main_input_name for each in kinds if each is not None]
    if not hasattr(config, "vision_config") and "pixel_values" not in inputs:
        raise ValueError(
            f"{name!r} is a model of the type {config.model_type!r}, which is shown no images. Take an image "
            "classifier, a network of timm, or a vision model of transformers."
        )


def _within_tower(keys: Any) -> list[Any]:
    return [key for key in keys if (key if isinstance(key, str) else key[0]).startswith(_TOWER)]


def _leave_out_unused(model: Any, report: dict[str, Any]) -> None:
    """Take away a pooler that would be drawn at random: many checkpoints were trained without it."""
    missing = {key for key in report["missing_keys"] if key.startswith(_POOLER)}
    if missing and isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
        report["missing_keys"] = set(report["missing_keys"]) - missing
    report["unexpected_keys"] = {key for key in report["unexpected_keys"] if not key.startswith(_PROJECTION)}


def _load_if_classifier(
    name: str, config: PreTrainedConfig, revision: str | None, dtype: torch.dtype | None
) -> PreTrainedModel | None:
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING or not config.num_labels:
        return None
    try:
        return load_whole(name, config, revision, dtype)
    except ValueError:
        return None
