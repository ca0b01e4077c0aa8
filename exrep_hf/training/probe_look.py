"""A look at whether a fitted head knows more than the student that is to learn from it."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from exrep_hf.teacher import LinearProbe

logger = logging.getLogger(__name__)

COMPARED_IMAGES = 2000
"""So many images tell two shares apart that differ by two or three points."""

Answer = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Comparison:
    """How often a starting student and a teacher with a fitted head are right.

    Attributes:
        images: what they are right about, in words.
        student: in [0, 1].
        teacher: in [0, 1].
    """

    images: str
    student: float
    teacher: float


def right_answers(
    batches: Iterable[dict[str, Tensor]], answers: list[Answer], gather: Callable[[Tensor], Tensor]
) -> list[float] | None:
    """Return the share of labelled images that each answer is right about; None where none has a label.

    Args:
        batches: of images with `labels`, below 0 where they have none.
        answers: each returns logits `(batch, num_labels)`.
        gather: returns what all processes have of a tensor `(batch, …)`.
    """
    found = []
    for batch in batches:
        labels = batch["labels"]
        right = [(answer(batch).argmax(-1) == labels).float() for answer in answers]
        found.append(gather(torch.where(labels[:, None] >= 0, torch.stack(right, -1), -1.0)))
    every = torch.cat(found)
    labelled = every[every[:, 0] >= 0]
    return labelled.mean(0).tolist() if len(labelled) else None


def told_of_head(head: LinearProbe) -> str:
    """Return what a run says of a head that it fitted."""
    views = f", {head.views} views each" if head.views > 1 else ""
    told = f"the teacher's head was fitted on {head.images} images of {head.classes} classes{views}: "
    if head.accuracy is None:
        told += "no class has two images, so that how good it is is not known"
    else:
        told += f"cross-validated top-1 {head.accuracy:.1%}, log-loss {head.log_loss:.3f}"
    if 0 < head.held_out < head.images:
        told += f" (on {head.held_out} of them)"
    if missing := len(head.bias) - head.classes:
        told += (
            f"; {missing} of the student's {len(head.bias)} classes have no labelled image: it takes them for the "
            "least likely ones"
        )
    return told


def told_of_comparison(found: Comparison) -> str:
    """Return how student and teacher compare."""
    return (
        f"the starting student is right about {found.student:.1%} of {found.images}, and the teacher with this head "
        f"about {found.teacher:.1%}"
    )


def warn_of_comparison(found: Comparison) -> None:
    """Say so where the student has nothing to gain."""
    if found.student >= found.teacher:
        logger.warning(
            "%s: a probe pays only where it is well above the student. Take a teacher that is nearer to these images, "
            "label more of them, or train without its logits (`teacher_head='none'`, `kd_weight=0`, "
            "`feature_weight=1`).",
            told_of_comparison(found).capitalize(),
        )
