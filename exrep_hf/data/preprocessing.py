"""How one model wants its images: size, interpolation, normalisation."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers import BitImageProcessor
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.data.image_processors import image_processor_of
from exrep_hf.data.processor_settings import check_same_pixels, processor_settings

RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""The accepted interpolations (values of torchvision's `InterpolationMode`) and what Pillow calls them."""
MAX_SIDE = 8192
"""Longest side, in pixels, that an image may be brought to."""


def has_wide_pixels(image: Image.Image) -> bool:
    """Return whether an image has more than 8 bits a channel, which Pillow would clip."""
    return image.mode[0] in "IF"


def _check_sides(height: int, width: int, resize: int | tuple[int, int] | None) -> None:
    edges = resize if isinstance(resize, tuple) else () if resize is None else (resize,)
    for side in (height, width, *edges):
        if not isinstance(side, int) or isinstance(side, bool):
            raise ValueError(
                f"`height`, `width` and `resize` are {height!r}, {width!r} and {resize!r}; expected whole numbers of "
                "pixels."
            )
    if min(height, width, *edges) < 1:
        raise ValueError(
            f"`height`, `width` and `resize` are {height}, {width} and {resize}; expected at least 1 pixel."
        )
    if max(height, width, *edges) > MAX_SIDE:
        raise ValueError(
            f"`height`, `width` and `resize` are {height}, {width} and {resize}; expected at most {MAX_SIDE} pixels: "
            "no image of a batch would fit into memory. Correct the sizes of the image processor."
        )


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
        _check_sides(self.height, self.width, self.resize)
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
        if not min(self.std) > 0 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"`mean` is {self.mean} and `std` {self.std}; expected finite values, `std` above 0.")

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
        return self.normalised(self.evaluation_pixels(image))

    def squeezed(self, image: Image.Image) -> Tensor:
        """Resize a whole image to the input's size, aspect ratio ignored, and normalise it, as `evaluation` does."""
        return self.normalised(self.squeezed_pixels(image))

    def evaluation_pixels(self, image: Image.Image | Tensor) -> Tensor:
        """Return what `evaluation` normalises, uint8 `(channels, height, width)`."""
        if self.resize is None:
            return self.squeezed_pixels(image)
        pixels = self.resized_pixels(self.pixels(image), self.resize)
        # The offsets are rounded as transformers does it, which is what readers of the saved processor get.
        top, left = (pixels.shape[-2] - self.height) // 2, (pixels.shape[-1] - self.width) // 2
        return F.crop(pixels, top, left, self.height, self.width)

    def squeezed_pixels(self, image: Image.Image | Tensor) -> Tensor:
        """Return what `squeezed` normalises, uint8 `(channels, height, width)`."""
        return self.resized_pixels(self.pixels(image), (self.height, self.width))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Normalise pixels `(…, channels, height, width)` from 0 to 255, where they are; return float32, contiguous.

        Each value is the same to the bit wherever and with however many others it is computed.
        """
        mean, std = _constants(self.mean, self.std, pixels.device)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format, copy=True).sub_(mean).div_(std)

    def pixels(self, image: Image.Image | Tensor) -> Tensor:
        """Return an image's pixels in the model's channels, `(channels, height, width)`, uint8; refuse wide ones.

        Those that are in the model's channels already are returned as they are.
        """
        if isinstance(image, Tensor):
            return image
        if has_wide_pixels(image):
            raise ValueError(
                f"An image of mode {image.mode!r} has more than 8 bits a channel and would be clipped: convert the "
                "images to 8-bit greyscale or RGB first."
            )
        return F.pil_to_tensor(image if image.mode == self.mode else image.convert(self.mode))

    def resized_pixels(self, pixels: Tensor, size: int | tuple[int, int]) -> Tensor:
        """Resize pixels to the length of the shorter edge, or to height and width, as the model wants it."""
        edges = [size] if isinstance(size, int) else list(size)
        return F.resize(pixels, edges, interpolation=self._interpolation_mode, antialias=True)

    @cached_property
    def _interpolation_mode(self) -> InterpolationMode:
        return InterpolationMode(self.interpolation)


@lru_cache(maxsize=64)
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel on a device, to which they are copied once: a copy waits for it."""
    # Scaled to 0..255 in float32 like transformers' processors, so that results are equal to the last bit.
    scaled = [(torch.tensor(values)[:, None, None] * 255.0).to(device) for values in (mean, std)]
    return scaled[0], scaled[1]
