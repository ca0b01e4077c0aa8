"""What the options of an image processor say, as the fields of `Preprocessing`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

REMEDY = "Pass a processing_class that can be expressed, such as Preprocessing(...).to_image_processor()."
INTERPOLATIONS = {
    Image.Resampling.NEAREST: "nearest-exact",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",
}
# transformers' LeViT enlarges the size that it is given.
_ENLARGING = ("LevitImageProcessor", "LevitImageProcessorPil")


def processor_settings(processor: BaseImageProcessor) -> dict[str, Any]:
    """Return the fields of `Preprocessing` that a processor describes.

    Raises:
        ValueError: for an option that `Preprocessing` cannot express.
    """
    if isinstance(processor, TimmWrapperImageProcessor):
        return _timm_settings(processor.data_config)

    def option(name: str, default: Any) -> Any:
        value = getattr(processor, name, None)
        return default if value is None else value

    if option("do_flip_channel_order", False):
        raise ValueError(
            f"{type(processor).__name__} gives the channels as BGR (do_flip_channel_order=True), expected RGB. Use a "
            "model that takes RGB; if this one was trained on RGB, set do_flip_channel_order=False."
        )
    for name, needed in (("do_resize", True), ("do_rescale", True), ("rescale_offset", False), ("do_pad", False)):
        if bool(option(name, False)) is not needed:
            raise ValueError(
                f"{type(processor).__name__} has {name}={option(name, None)}, expected {needed}. {REMEDY}"
            )
    if abs(option("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError(
            f"{type(processor).__name__} has rescale_factor={option('rescale_factor', None)}, expected 1/255. {REMEDY}"
        )
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    if option("do_normalize", False):
        mean, std = tuple(option("image_mean", ())), tuple(option("image_std", ()))
    if option("include_top", False):
        # transformers' EfficientNet processor divides by the standard deviation a second time.
        std = tuple(value * value for value in std)
    resample = option("resample", Image.Resampling.BILINEAR)
    if resample not in INTERPOLATIONS:
        raise ValueError(
            f"{type(processor).__name__} has resample={resample}, expected one of "
            f"{', '.join(f'{int(value)} ({name})' for value, name in INTERPOLATIONS.items())}. {REMEDY}"
        )
    return {
        **_geometry(processor, option("crop_pct", None)),
        "interpolation": INTERPOLATIONS[resample],
        "mean": mean,
        "std": std,
    }


def _geometry(processor: BaseImageProcessor, crop_pct: float | None) -> dict[str, Any]:
    """Return height, width and resize of a processor."""
    size = {key: value for key, value in dict(getattr(processor, "size", None) or {}).items() if value is not None}
    if not size:
        raise ValueError(
            f"{type(processor).__name__} says nothing of the size of its images, expected shortest_edge alone or "
            f"height and width. {REMEDY}"
        )
    if set(size) == {"shortest_edge"}:
        edge = size["shortest_edge"]
        if type(processor).__name__ in _ENLARGING:
            edge = int(256 / 224 * edge)
        if crop_pct is not None:  # ConvNeXt: a centre crop below 384 pixels, none from there on
            if not 0 < crop_pct <= 1:
                raise ValueError(
                    f"{type(processor).__name__} has crop_pct={crop_pct}, expected above 0 and up to 1. {REMEDY}"
                )
            return {"height": edge, "width": edge, "resize": int(edge / crop_pct) if edge < 384 else None}
        resize: int | tuple[int, int] = edge
    elif set(size) == {"height", "width"}:
        resize = (size["height"], size["width"])
    else:
        raise ValueError(
            f"{type(processor).__name__} has size={size}, expected shortest_edge alone or height and width. {REMEDY}"
        )
    if getattr(processor, "do_center_crop", None):
        crop = dict(getattr(processor, "crop_size", None) or size)
        target = (crop["height"], crop["width"])
        sides = resize if isinstance(resize, tuple) else (resize, resize)
        if sides[0] < target[0] or sides[1] < target[1]:
            raise ValueError(
                f"{type(processor).__name__} has crop_size={crop}, larger than its size={size}: it pads images, or "
                f"crops them before it resizes; expected a crop of what was resized. {REMEDY}"
            )
    elif isinstance(resize, int):
        raise ValueError(
            f"{type(processor).__name__} resizes the shorter edge to {resize} without do_center_crop, so that images "
            f"differ in size. {REMEDY}"
        )
    else:
        target = resize
    return {"height": target[0], "width": target[1], "resize": None if resize == target else resize}


def _timm_settings(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate timm's data config (see `timm.data.transforms_factory.transforms_imagenet_eval`)."""
    _, height, width = data_config["input_size"]
    if not 0 < data_config["crop_pct"] <= 1:
        raise ValueError(
            f"timm has crop_pct={data_config['crop_pct']}, which pads images with black; expected a value above 0 and "
            f"up to 1. {REMEDY}"
        )
    scaled = (int(height / data_config["crop_pct"]), int(width / data_config["crop_pct"]))
    resize: int | tuple[int, int] | None
    if data_config["crop_mode"] == "squash":
        resize = scaled if scaled != (height, width) else None
    elif data_config["crop_mode"] == "center" and height == width:
        resize = scaled[0]
    else:
        raise ValueError(
            f"timm has crop_mode={data_config['crop_mode']!r} with input_size={data_config['input_size']} is not "
            f"supported: expected 'squash', or 'center' with a square input. {REMEDY}"
        )
    interpolation = "nearest-exact" if data_config["interpolation"] == "nearest" else data_config["interpolation"]
    mean, std = tuple(data_config["mean"]), tuple(data_config["std"])
    return {
        "height": height,
        "width": width,
        "resize": resize,
        "interpolation": interpolation,
        "mean": mean,
        "std": std,
    }


def check_same_pixels(
    processor: BaseImageProcessor, transform: Callable[[Image.Image], Tensor], mean: tuple[float, ...], std: tuple
) -> None:
    """Compares a transform with the processor it was read from, on a smooth probe image.

    Processors differ in code, not only in options (LeViT's enlarges the size it is given); nothing else would tell.
    Two of 256 levels on average are left for the rounding of different resampling libraries. timm's data config says
    all there is to say, and timm rounds odd margins of the crop to the other side, so its processors are not compared.

    Raises:
        ValueError: if the two disagree.
    """
    if isinstance(processor, TimmWrapperImageProcessor):
        return
    rows, columns = np.mgrid[0:320, 0:240] / np.array([319, 239])[:, None, None]
    probe = np.stack([rows, columns, 1 - rows * columns], axis=-1) * 255
    image = Image.fromarray(probe.astype(np.uint8)).convert("RGB" if len(mean) == 3 else "L")
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    received = transform(image)
    if expected.shape == received.shape:
        levels = (expected - received).abs() * torch.tensor(std)[:, None, None] * 255
        if levels.mean() < 2:
            return
    raise ValueError(f"{type(processor).__name__} changes images in a way that its options do not tell. {REMEDY}")
