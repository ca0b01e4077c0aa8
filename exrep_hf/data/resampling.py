"""Crops of many images at once, resized as torchvision resizes them, where the images lie."""

from collections.abc import Callable

import torch
from torch import Tensor


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _cubic(x: Tensor) -> Tensor:
    # Keys' kernel with a = -1/2.
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}
"""The interpolations that a crop can be resized by, all with antialiasing."""


def resized_crops(
    images: Tensor, boxes: Tensor, flipped: Tensor, height: int, width: int, interpolation: str
) -> Tensor:
    """Crop each image by its own box, flip some, and resize all.

    Args:
        images: uint8 `(batch, channels, rows, columns)`.
        boxes: `(batch, 4)`: top, left, height and width of the crops, in shares of the images in [0, 1].
        flipped: `(batch,)`, bool: whether a crop is mirrored.
        height: of the result, in pixels.
        width: of the result, in pixels.
        interpolation: one of `KERNELS`.

    Returns:
        uint8 `(batch, channels, height, width)`: what torchvision gives for each crop, but for a level of 255 here
        and there, as its weights are whole numbers.
    """
    kernel = KERNELS[interpolation]
    rows, columns = images.shape[-2:]
    down = _weights(boxes[:, 0] * rows, boxes[:, 2] * rows, rows, height, kernel)
    across = _weights(boxes[:, 1] * columns, boxes[:, 3] * columns, columns, width, kernel)
    across = torch.where(flipped[:, None, None], across.flip(1), across)
    # Pixels between the two passes are bytes too, as they are there.
    wide = (images.to(torch.float32) @ across[:, None].transpose(-1, -2)).round_().clamp_(0, 255)
    return (down[:, None] @ wide).round_().clamp_(0, 255).to(torch.uint8)


def _weights(start: Tensor, length: Tensor, source: int, target: int, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Return how much of each pixel of a source is in each of a target, `(batch, target, source)`."""
    pixels = torch.arange(source, device=start.device) + 0.5
    scale = (length / target)[:, None]
    # Of a crop that is made smaller each pixel is of several: a wider kernel.
    wide = scale.clamp_min(1)[:, :, None]
    centres = start[:, None] + (torch.arange(target, device=start.device) + 0.5) * scale
    inside = (pixels > start[:, None]) & (pixels < (start + length)[:, None])
    weights = kernel((pixels - centres[:, :, None]) / wide) * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)
