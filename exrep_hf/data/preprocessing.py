"""How one model wants its images: size, interpolation, normalisation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers import AutoImageProcessor, BitImageProcessor
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""The accepted interpolations (values of torchvision's `InterpolationMode`) and what Pillow calls them."""
REMEDY = "Pass a processing_class that can be expressed, such as Preprocessing(...).to_image_processor()."
INTERPOLATIONS = {
    Image.Resampling.NEAREST: "nearest-exact",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",
}


def has_wide_pixels(image: Image.Image) -> bool:
    """Return whether an image has more than 8 bits a channel, which Pillow would clip."""
    return image.mode[0] in "IF"


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded 8-bit image to the normalised tensor that one model expects.

    `mean` and `std` are for pixels in [0, 1], one value a channel: three make the image RGB, one makes it grey.
    Transparency is dropped, as transformers' pipelines do.

    Attributes:
        height: height of the model's input, in pixels.
        width: width of the model's input, in pixels.
        resize: what an evaluation image is resized to before the centre crop: the length of its shorter edge (aspect
            ratio kept), or an exact `(height, width)`; `None`: straight to the input's size, without a crop.
        interpolation: `nearest-exact`, `bilinear`, `bicubic` or `lanczos`, always with antialiasing.
        mean: mean of each channel.
        std: standard deviation of each channel.

    Raises:
        ValueError: for a size, interpolation, mean or std that cannot be used.
    """

    height: int
    width: int
    resize: int | tuple[int, int] | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"`height` and `width` are {self.height} and {self.width}; expected at least 1 pixel.")
        resize_height, resize_width = self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize)
        if self.resize is not None and (resize_height < self.height or resize_width < self.width):  # type: ignore[operator]
            raise ValueError(
                f"`resize` is {self.resize}, smaller than the input it is cropped to ({self.height}, {self.width}): "
                "pass a resize at least as large, or None to resize without a crop."
            )
        if self.interpolation not in RESAMPLING:
            raise ValueError(f"`interpolation` is {self.interpolation!r}; expected one of {', '.join(RESAMPLING)}.")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                f"`mean` {self.mean} and `std` {self.std} must both have one value a channel: 3 for RGB, 1 for grey."
            )
        if min(self.std) <= 0:
            raise ValueError(f"`std` is {self.std}; expected values above 0.")

    @classmethod
    def from_image_processor(cls, processor: BaseImageProcessor) -> "Preprocessing":
        """Read the settings of a transformers image processor.

        Raises:
            ValueError: if the processor does anything that these settings cannot express; the result is checked
                against a transformers processor on a probe image.
        """
        preprocessing = cls(**processor_settings(processor))
        check_same_pixels(processor, preprocessing.evaluation, preprocessing.mean, preprocessing.std)
        return preprocessing

    @classmethod
    def from_model(cls, model: torch.nn.Module) -> "Preprocessing":
        """Find the evaluation settings that belong to a timm, transformers or ExRep model.

        timm models are evaluated at their training size, as by transformers' `TimmWrapperImageProcessor`.

        Raises:
            ValueError: if the model does not say how it wants its images.
        """
        return cls.from_image_processor(image_processor_of(model))

    def to_image_processor(self) -> BaseImageProcessor:
        """Return a transformers image processor that gives the tensors of `evaluation` and can be saved."""
        target = {"height": self.height, "width": self.width}
        resize = (self.height, self.width) if self.resize is None else self.resize
        size = (
            {"shortest_edge": resize}
            if isinstance(resize, int)
            else dict(zip(("height", "width"), resize, strict=True))
        )
        options: dict[str, Any] = {
            "size": size,
            "crop_size": target,
            "do_center_crop": size != target,
            "resample": int(RESAMPLING[self.interpolation]),
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "do_convert_rgb": len(self.mean) == 3,
        }
        return BitImageProcessor(**options)

    @property
    def mode(self) -> str:
        """Pillow's name of the channels the model receives: `RGB` or `L`."""
        return "RGB" if len(self.mean) == 3 else "L"

    def evaluation(self, image: Image.Image) -> Tensor:
        """Resize, centre-crop and normalise a whole image; return float32 `(channels, height, width)`."""
        if self.resize is None:
            return self.squeezed(image)
        pixels = self._resized(self.pixels(image), self.resize)
        # The offsets are rounded as transformers does it, which is what readers of the saved processor get.
        top, left = (pixels.shape[-2] - self.height) // 2, (pixels.shape[-1] - self.width) // 2
        return self._normalised(F.crop(pixels, top, left, self.height, self.width))

    def squeezed(self, image: Image.Image) -> Tensor:
        """Resize a whole image to the input's size, aspect ratio ignored; return `(channels, height, width)`."""
        return self._normalised(self._resized(self.pixels(image), (self.height, self.width)))

    def pixels(self, image: Image.Image) -> Tensor:
        """Return an image's pixels in the model's channels, `(channels, height, width)`, uint8; refuse wide ones."""
        if has_wide_pixels(image):
            raise ValueError(
                f"An image of mode {image.mode!r} has more than 8 bits a channel and would be clipped: convert the "
                "images to 8-bit greyscale or RGB first."
            )
        return F.pil_to_tensor(image if image.mode == self.mode else image.convert(self.mode))

    def _resized(self, pixels: Tensor, size: int | tuple[int, int]) -> Tensor:
        edges = [size] if isinstance(size, int) else list(size)
        return F.resize(pixels, edges, interpolation=self._interpolation_mode, antialias=True)

    def _normalised(self, pixels: Tensor) -> Tensor:
        mean, std = self._mean_and_std
        return pixels.to(torch.float32).sub_(mean).div_(std)

    @cached_property
    def _interpolation_mode(self) -> InterpolationMode:
        return InterpolationMode(self.interpolation)

    @cached_property
    def _mean_and_std(self) -> tuple[Tensor, Tensor]:
        # Scaled to 0..255 in float32 like transformers' processors, so that results are equal to the last bit.
        return tuple(torch.tensor(values)[:, None, None] * 255.0 for values in (self.mean, self.std))  # type: ignore[return-value]


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
        "Pass its image processor as processing_class=..."
    )


def _with_channels_of(model: torch.nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """Correct timm's settings, which stay at three channels for a model made with `in_chans=1`."""
    first_conv = settings.get("first_conv")
    resolved = resolve_data_config(settings)
    if not isinstance(first_conv, str):
        return resolved
    channels = next(model.get_submodule(first_conv).parameters()).shape[1]
    if channels == 1 and resolved["input_size"][0] == 3:
        for key in ("mean", "std"):
            resolved[key] = (sum(resolved[key]) / 3,)
    return {**resolved, "input_size": (channels, *resolved["input_size"][1:])}


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
    if set(size) == {"shortest_edge"}:
        edge = size["shortest_edge"]
        if crop_pct is not None:  # ConvNeXt: a centre crop below 384 pixels, none from there on
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
