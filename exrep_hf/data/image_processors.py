"""The image processor that belongs to a model."""

import math
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_data_config
from transformers import AutoImageProcessor
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor


def image_processor_of(model: torch.nn.Module) -> BaseImageProcessor:
    """Find the image processor of a timm, transformers or ExRep model.

    A processor saved beside the weights wins over what the architecture says.

    Raises:
        ValueError: if neither exists.
    """
    config = getattr(model, "config", None)
    name = str(getattr(model, "name_or_path", "") or "")
    is_exrep = getattr(config, "model_type", None) == "exrep"
    timm_model: Any = getattr(model, "timm_model", model if hasattr(model, "pretrained_cfg") else None)
    # A timm model on the Hub says everything in its config, so nothing is fetched for it.
    if name and (timm_model is None or (Path(name) / "preprocessor_config.json").is_file()):
        try:
            return AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            if not is_exrep:
                raise ValueError(_unknown(model, f"{name!r} holds no image processor")) from error
    if is_exrep:
        return image_processor_of(model.classifier)  # type: ignore[arg-type]
    if timm_model is not None:
        settings = getattr(config, "pretrained_cfg", None) or timm_model.pretrained_cfg
        return TimmWrapperImageProcessor(_with_channels_of(timm_model, dict(settings)))
    raise ValueError(_unknown(model, "it was not loaded from a folder or from the Hub"))


def _unknown(model: torch.nn.Module, reason: str) -> str:
    return (
        f"How {type(model).__name__} wants its images is not known: {reason}. "
        "Pass its image processor as processing_class=..., or save it beside the weights: "
        "`AutoImageProcessor.from_pretrained(…).save_pretrained(folder)`."
    )


def _with_channels_of(model: torch.nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """Correct timm's settings, which stay at three channels for a model made with `in_chans=1`."""
    first_conv = settings.get("first_conv")
    resolved = resolve_data_config(settings)
    if not isinstance(first_conv, str):
        return resolved
    inputs = next(model.get_submodule(first_conv).parameters()).shape[1]
    channels = _channels_of(inputs)
    if channels is None:
        raise ValueError(
            f"{type(model).__name__} has a first layer `{first_conv}` of {inputs} inputs; expected one for images of "
            "3 channels (RGB) or 1 (grey). Build it with `in_chans=3`."
        )
    if channels == 1 and resolved["input_size"][0] == 3:
        for key in ("mean", "std"):
            resolved[key] = (sum(resolved[key]) / 3,)
    return {**resolved, "input_size": (channels, *resolved["input_size"][1:])}


def _channels_of(inputs: int) -> int | None:
    """Return the channels of images of which a first layer takes `inputs` numbers, or None where they are others.

    Models that cut images into squares first (TResNet, NaFlexViT, Gemma 4) hand over each square's pixels.
    """
    if inputs in (1, 3):
        return inputs
    for channels in (3, 1):
        if inputs % channels == 0 and math.isqrt(inputs // channels) ** 2 == inputs // channels:
            return channels
    return None
