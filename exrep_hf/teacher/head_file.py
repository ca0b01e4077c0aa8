"""A fitted head as a file: safetensors, with the facts of its fit as JSON in the header."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from exrep_hf.files import write_bytes
from exrep_hf.finite import check_figures
from exrep_hf.teacher.linear_probe import LinearProbe
from exrep_hf.untrusted import parse_json

HEAD_NAME = "teacher_head.safetensors"
"""In checkpoints, in the folder of a run, and beside stored answers."""
_FACTS = "probe"
_TENSORS = ("weight", "bias")


def save_head(head: LinearProbe, path: Path) -> None:
    """Write a head whole or not at all.

    Raises:
        NonFiniteError: if a figure is NaN or infinite.
    """
    facts = {each.name: getattr(head, each.name) for each in dataclasses.fields(head) if each.name not in _TENSORS}
    check_figures(facts, f"`{path.name}`")
    # One key with JSON in it: the order of several would differ from file to file.
    tensors = {name: getattr(head, name).contiguous() for name in _TENSORS}
    write_bytes(save(tensors, {_FACTS: json.dumps(facts)}), path)


def load_head(path: Path, num_labels: int, dim: int) -> LinearProbe:
    """Read a head that `save_head` wrote, whoever called it.

    Args:
        path: of the file.
        num_labels: number of classes that it has to have.
        dim: width of the features that it has to take.

    Raises:
        ValueError: if it is missing, damaged or not finite, or has other classes or takes other features.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            if shapes != (expected := {"weight": (num_labels, dim), "bias": (num_labels,)}):
                raise ValueError(f"it holds {shapes!s:.200}; expected {expected}")
            tensors = {name: file.get_tensor(name).float() for name in _TENSORS}
            facts = parse_json((file.metadata() or {})[_FACTS], "its header")
        if not all(bool(value.isfinite().all()) for value in tensors.values()):
            raise ValueError("it holds values that are NaN or infinite")
        return LinearProbe(**tensors, **_facts(facts))
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The teacher's head {str(path)!r} can't be used ({error!s:.400}); expected what `save_head` wrote for "
            f"{num_labels} classes and features of width {dim}. Remove it to have it fitted again, or start from "
            "another folder."
        ) from error


def _facts(content: dict[str, Any]) -> dict[str, Any]:
    """Make sure that each fact is a number, or None where a figure could not be measured."""
    expected = [each.name for each in dataclasses.fields(LinearProbe) if each.name not in _TENSORS]
    may_be_none = ("accuracy", "log_loss")
    for name in expected:
        value = content[name]
        # True is an int.
        if not (type(value) in (int, float) or (value is None and name in may_be_none)):
            raise ValueError(f"its `{name}` is {value!r:.100}")
    check_figures(content, "its header")
    return {name: content[name] for name in expected}
