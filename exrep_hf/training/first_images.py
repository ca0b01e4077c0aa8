"""Whether student and teacher take the images that they will be given, tried on the first of them."""

from collections.abc import Callable, Sized
from typing import Any

import torch
from torch import nn

from exrep_hf.data.checks import is_map_style
from exrep_hf.models.image_check import check_takes_image
from exrep_hf.teacher import TeacherSource

Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


def check_student_takes(student: nn.Module, *data_sets: Any) -> None:
    """Make sure that a student takes the first image of each data set; of streams nothing is taken.

    Args:
        student: the model to train.
        *data_sets: as a trainer walks through them, or dicts of such.

    Raises:
        ValueError: naming size and channels.
    """
    seen = set()
    for data_set in data_sets:
        for part in data_set.values() if isinstance(data_set, dict) else [data_set]:
            item = _first(part)
            if item is not None and (image := torch.as_tensor(item["pixel_values"])).shape not in seen:
                seen.add(image.shape)
                check_takes_image(student, image, f"student, a {_kind(student)},")


def check_teacher_answers(
    teacher: TeacherSource, data_set: Any, collate: Collate, device: torch.device, temperature: float
) -> None:
    """Make sure that a teacher answers the first training image; one with stored answers is not asked.

    Args:
        teacher: whom the student is to follow.
        data_set: as a trainer walks through it.
        collate: makes a batch of items.
        device: where training takes place.
        temperature: of the term on logits.

    Raises:
        ValueError: naming size and channels.
    """
    item = None if teacher.views is not None else _first(data_set)
    if item is None:
        return
    batch = {name: value.to(device) for name, value in collate([item]).items() if isinstance(value, torch.Tensor)}
    try:
        with torch.no_grad():
            teacher(batch, temperature=temperature)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError, TypeError, LookupError, NotImplementedError) as error:
        shapes = {name: tuple(value.shape[1:]) for name, value in batch.items() if name.endswith("pixel_values")}
        networks = ", ".join(_kind(network) for network in teacher.networks())
        raise ValueError(
            f"The teacher, a {networks or type(teacher).__name__}, can't answer the first training image, of "
            f"(channels, height, width) {shapes} ({' '.join(str(error).split())[:200]}). Give it images of its own "
            "size and channels, or take another teacher."
        ) from error


def _first(data_set: Any) -> dict[str, Any] | None:
    if data_set is None or not is_map_style(data_set) or (isinstance(data_set, Sized) and not len(data_set)):
        return None
    return data_set[0]


def _kind(model: nn.Module) -> str:
    """Name the class that a user knows: of a student's classifier, or timm's own."""
    model = getattr(model, "classifier", model) if type(model).__name__.startswith("ExRep") else model
    return type(getattr(model, "timm_model", model)).__name__
