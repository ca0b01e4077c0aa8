"""A head as a file: safetensors, with the facts of its fit, or its words, as JSON in the header."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from exrep_hf.files import write_bytes
from exrep_hf.finite import check_figures
from exrep_hf.models import TextWeights
from exrep_hf.teacher.linear_probe import LinearProbe
from exrep_hf.teacher.text_head import TextHead
from exrep_hf.untrusted import parse_json

HEAD_NAME = "teacher_head.safetensors"
"""In checkpoints, in the folder of a run, and beside stored answers."""
HEADS_NAME = "teacher_heads"
"""Folder of the heads of a study, one a seed."""
_FACTS, _TEXTS = "probe", "text"
_TENSORS = ("weight", "bias")
_WORDS = ("names", "words", "prompts")


def head_of_seed(folder: Path, seed: int) -> Path:
    """Return where the head of a seed lies in the folder of a study."""
    return folder / HEADS_NAME / f"seed{seed}.safetensors"


def save_head(head: LinearProbe, path: Path) -> None:
    """Write a fitted head whole or not at all.

    Raises:
        NonFiniteError: if a figure is NaN or infinite.
    """
    facts = {each.name: getattr(head, each.name) for each in dataclasses.fields(head) if each.name not in _TENSORS}
    check_figures(facts, f"`{path.name}`")
    _write(path, {name: getattr(head, name) for name in _TENSORS}, _FACTS, facts)


def save_text_head(head: TextHead, path: Path) -> None:
    """Write a head that was made of texts, whole or not at all."""
    tensors = {name: value for name, value in vars(head.weights).items() if value is not None}
    _write(path, tensors, _TEXTS, {name: list(getattr(head, name)) for name in _WORDS})


def load_head(path: Path, num_labels: int, dim: int) -> LinearProbe:
    """Read a head that `save_head` wrote, whoever called it.

    Args:
        path: of the file.
        num_labels: number of classes that it has to have.
        dim: width of the features that it has to take.

    Raises:
        ValueError: if it is missing, damaged or not finite, or has other classes or takes other features.
    """
    with _named_errors(path, f"`save_head` wrote for {num_labels} classes and features of width {dim}"):
        tensors, facts = _read(path, {"weight": (num_labels, dim), "bias": (num_labels,)}, _FACTS)
        return LinearProbe(**tensors, **_facts(facts))


def load_text_head(path: Path, like: TextHead) -> TextHead:
    """Read a head that `save_text_head` wrote, whoever called it.

    Args:
        path: of the file.
        like: of the same names, words and prompts, made by the same checkpoint.

    Raises:
        ValueError: if it is missing, damaged or not finite, or of others.
    """
    expected = {name: tuple(value.shape) for name, value in vars(like.weights).items() if value is not None}
    with _named_errors(path, f"was written for {len(like.names)} classes of the same names and prompts"):
        tensors, facts = _read(path, expected, _TEXTS)
        for name in _WORDS:
            if facts[name] != (now := list(getattr(like, name))):
                raise ValueError(f"its `{name}` are {facts[name]!r:.150}, and {now!r:.150} now")
        return dataclasses.replace(like, weights=TextWeights(**{"projection": None} | tensors))


def _write(path: Path, tensors: dict[str, Tensor], key: str, facts: dict[str, Any]) -> None:
    # One key with JSON in it: the order of several would differ from file to file.
    write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, {key: json.dumps(facts)}), path)


def _read(path: Path, expected: dict[str, tuple[int, ...]], key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        if shapes != expected:
            raise ValueError(f"it holds {shapes!s:.200}; expected {expected}")
        tensors = {name: file.get_tensor(name).float() for name in expected}
        facts = parse_json((file.metadata() or {})[key], "its header")
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError("it holds values that are NaN or infinite")
    return tensors, facts


@contextmanager
def _named_errors(path: Path, expected: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The teacher's head {str(path)!r} can't be used ({error!s:.400}); expected what {expected}. Remove it to "
            "have it made again, or start from another folder."
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
