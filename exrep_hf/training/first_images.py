"""Whether student and teacher take the images that they will be given, tried on the first of them."""

from collections.abc import Callable, Sized
from typing import Any

import torch
from torch import nn

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.checks import is_map_style
from exrep_hf.models.image_check import REFUSALS, check_takes_image
from exrep_hf.teacher import TeacherSource

Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


def check_first_images(
    student: nn.Module,
    teacher: TeacherSource | None,
    train_dataset: Any,
    eval_dataset: Any,
    collate: Collate,
    args: DistillationArguments,
) -> None:
    """Make sure that student and teacher take the first image of each data set; of streams nothing is taken.

    Args:
        student: the model to train.
        teacher: whom it is to follow, if anyone; one with stored answers is not asked.
        train_dataset: as a trainer walks through it.
        eval_dataset: the same, or a dict of such.
        collate: makes a batch of items.
        args: where training takes place, and which terms are active.

    Raises:
        ValueError: naming size and channels.
    """
    to_evaluate = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
    batches = [_first_batch(data_set, collate) for data_set in (train_dataset, *to_evaluate)]
    seen = set()
    for batch in batches:
        if batch and (image := batch["pixel_values"][0]).shape not in seen:
            seen.add(image.shape)
            check_takes_image(student, image, f"student, a {_kind(student)},")
    if args.needs_teacher and teacher is not None and teacher.views is None:
        _check_teacher_answers(teacher, batches[0], args)


def _check_teacher_answers(
    teacher: TeacherSource, first: dict[str, torch.Tensor], args: DistillationArguments
) -> None:
    if not first:
        return
    batch = {name: value.to(args.device) for name, value in first.items()}
    try:
        with torch.no_grad():
            teacher(batch, temperature=args.temperature)
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        shapes = {name: tuple(value.shape[1:]) for name, value in batch.items() if name.endswith("pixel_values")}
        networks = ", ".join(_kind(network) for network in teacher.networks())
        raise ValueError(
            f"The teacher, a {networks or type(teacher).__name__}, can't answer the first training image, of "
            f"(channels, height, width) {shapes} ({' '.join(str(error).split())[:200]}). Give it images of its own "
            "size and channels, or take another teacher."
        ) from error


def _first_batch(data_set: Any, collate: Collate) -> dict[str, torch.Tensor]:
    """Return a batch of the first item; nothing where there is none."""
    if data_set is None or not is_map_style(data_set) or (isinstance(data_set, Sized) and not len(data_set)):
        return {}
    batch = collate([data_set[0]])
    return {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}


def _kind(model: nn.Module) -> str:
    """Name the class that a user knows: of a student's classifier, or timm's own."""
    model = getattr(model, "classifier", model) if type(model).__name__.startswith("ExRep") else model
    return type(getattr(model, "timm_model", model)).__name__
