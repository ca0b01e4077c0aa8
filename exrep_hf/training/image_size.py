"""Whether a network takes images of another size than its own."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn


def check_size(network: nn.Module, shape: Sequence[int], own: tuple[int, int], what: str) -> None:
    """Make sure that a network takes images of a shape, without computing anything.

    Many networks take any size; those of a fixed one say so in the first step, each in its own words.

    Args:
        network: a classifier.
        shape: of the images, (channels, height, width).
        own: height and width that the network is made for.
        what: what messages call the images.

    Raises:
        ValueError: if it takes images of its own size and not these.
    """
    height, width = shape[-2:]
    if (height, width) == own or (failure := _failure(network, shape)) is None:
        return
    # What can't be run on shapes alone proves nothing.
    if _failure(network, (*shape[:-2], *own)) is None:
        raise ValueError(
            f"{what} is of {height}x{width} pixels, and {type(network).__name__} takes images of {own[0]}x{own[1]} "
            f"({failure}). Resize the images in the data set, or pass the HF `Dataset` of images itself."
        )


def _failure(network: nn.Module, shape: Sequence[int]) -> str | None:
    """Return why a network fails on images of a shape; None if it does not."""
    named = itertools.chain(network.named_parameters(), network.named_buffers())
    state = {name: torch.empty_like(value, device="meta") for name, value in named}
    dtype = next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)
    # Two images: BatchNorm refuses a single pixel of one.
    images = torch.empty((2, *shape), dtype=dtype, device="meta")
    try:
        with torch.no_grad():
            torch.func.functional_call(network, state, (images,), tie_weights=True)
    except Exception as error:  # each architecture refuses in its own way
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None
