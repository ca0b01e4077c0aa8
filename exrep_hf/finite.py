"""What holds NaN or infinite values, and its refusal: figures, tensors, files of tensors."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# Of many that are not finite, so many are named.
_NAMED = 5


class NonFiniteError(ValueError):
    """NaN or infinite values where they would be trained on, saved, or published."""


def check_figures(content: Any, what: str) -> None:
    """Make sure that all numbers of nested dicts and lists are finite.

    Args:
        content: of JSON or YAML.
        what: the content's name, for the message.

    Raises:
        NonFiniteError: naming the keys.
    """
    if found := list(_nonfinite_figures(content, "")):
        raise NonFiniteError(
            f"{what} holds figures that are not finite: {named(found)}; expected finite ones, which alone can be "
            "written as JSON and compared. Look at the run and the images that they come from."
        )


def _nonfinite_figures(content: Any, place: str) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _nonfinite_figures(value, f"{place}.{key}" if place else str(key))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _nonfinite_figures(value, f"{place}[{number}]")
    elif isinstance(content, float) and not math.isfinite(content):
        yield f"`{place}` = {content}"


def nonfinite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinite values; waits for the device."""
    return [name for name, tensor in tensors.items() if not is_finite(tensor)]


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite; waits for the device."""
    # Types of a byte have no such operator.
    wide = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
    return bool(wide.isfinite().all())


def check_files(paths: Iterable[Path], remedy: str) -> None:
    """Make sure that all tensors of safetensors files are finite, one tensor in memory at a time.

    Args:
        paths: the files.
        remedy: what to do otherwise, a sentence.

    Raises:
        NonFiniteError: naming a file and its tensors.
        ValueError: if a file is none of safetensors.
    """
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                found = [name for name in names if not is_finite(file.get_tensor(name))]
        except SafetensorError as error:
            raise ValueError(f"{str(path)!r} can't be read ({error}); expected safetensors. {remedy}") from error
        if found:
            raise NonFiniteError(
                f"{str(path)!r} holds NaN or infinite values in {len(found)} of {len(names)} tensors "
                f"({named(found)}); expected finite weights. {remedy}"
            )


def largest(tensor: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Return the largest absolute value, NaN or infinite where one is; doesn't wait for the device.

    Args:
        tensor: floating point, not empty.
        dim: dimensions to reduce; all where not given.
    """
    return torch.linalg.vector_norm(tensor.detach(), math.inf, dim)


def named(found: list[str]) -> str:
    """Name the first few of many."""
    return ", ".join(found[:_NAMED]) + (f", and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
