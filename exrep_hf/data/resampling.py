"""Crops of many images at once, each with a box of its own, resized with antialiasing where the images are."""

import torch
from torch import Tensor

SUPPORT = {"bilinear": 1, "bicubic": 2}
"""Interpolations that there are, and how far, in pixels of the coarser grid, a value reaches."""


def resized_crops(images: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize a crop of each image: what torchvision's antialiased `resize` gives, to two levels.

    Args:
        images: `(batch, channels, height, width)`, uint8.
        boxes: top, left, height and width of each crop in pixels `(batch, 4)`, fractions allowed.
        flipped: whether each is mirrored afterwards `(batch,)`, bool.
        size: height and width of the result.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        uint8 `(batch, channels, *size)`.
    """
    top, left, height, width = boxes.float().unbind(1)
    upright = torch.zeros_like(flipped)
    down = _weights(top, height, upright, images.shape[-2], size[0], interpolation)
    across = _weights(left, width, flipped, images.shape[-1], size[1], interpolation)
    # Two products of matrices; each row first, rounded, as the ordinary path has it.
    # Halves go up, as in torchvision: `round` would take them to even numbers.
    made = torch.matmul(images.float(), across[:, None].mT).add_(0.5).floor_().clamp_(0, 255)
    return torch.matmul(down[:, None], made).add_(0.5).floor_().clamp_(0, 255).to(torch.uint8)


def _weights(begin: Tensor, length: Tensor, flipped: Tensor, pixels: int, wanted: int, interpolation: str) -> Tensor:
    """Return what each pixel along an axis counts in each of the result `(batch, wanted, pixels)`; rows sum to 1."""
    place = torch.arange(wanted, device=begin.device, dtype=torch.float32)
    place = torch.where(flipped[:, None], wanted - 1 - place, place)
    step = (length / wanted)[:, None]
    # The middle of each pixel of the result, in pixels of the image.
    middle = begin[:, None] + (place + 0.5) * step
    pixel = torch.arange(pixels, device=begin.device, dtype=torch.float32) + 0.5
    distance = (pixel - middle[:, :, None]).div_(step.clamp(min=1)[:, :, None]).abs_()
    weight = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    # Nothing from outside of the crop; of a box of fractions at least the pixel in its middle is inside.
    first = begin.floor()[:, None, None]
    last = (begin + length).ceil()[:, None, None]
    weight = weight * ((pixel > first) & (pixel < last))
    return weight / weight.sum(-1, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = −0.5, as Pillow's and torch's antialiased one."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
