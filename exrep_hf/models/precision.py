"""Weights that are trained in float32, whatever they were saved in."""

from itertools import chain

import torch
from torch import nn

HALF_PRECISION = frozenset({torch.float16, torch.bfloat16})


def to_float32(model: nn.Module) -> tuple[torch.dtype, ...]:
    """Turn weights and buffers in half precision into float32, in place; others stay as they are.

    A step of training is smaller than what bfloat16 can tell apart: most of such weights would never move.

    Returns:
        The types that there were in half precision; empty if there were none.
    """
    found = set()
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.dtype in HALF_PRECISION:
            found.add(tensor.dtype)
            tensor.data = tensor.data.float()
    return tuple(sorted(found, key=str))
