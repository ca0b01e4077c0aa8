"""Logits of student and teacher, as losses on them take them."""

from typing import Protocol

from torch import Tensor


class HasLogits(Protocol):
    """A `StudentOutput` or a `TeacherOutput`."""

    logits: Tensor | None


def compared_logits(student: HasLogits | Tensor, teacher: HasLogits | Tensor) -> tuple[Tensor, Tensor]:
    """Return both logits in float32, `(batch, num_labels)`, the teacher's without a gradient.

    Args:
        student: its output, or the logits themselves.
        teacher: the same.

    Raises:
        ValueError: if one has none, or they are not of the same images and classes.
    """
    own = student if isinstance(student, Tensor) else student.logits
    other = teacher if isinstance(teacher, Tensor) else teacher.logits
    if own is None or other is None:
        raise ValueError(
            f"The {'student' if own is None else 'teacher'} has no logits to compare; expected some of both."
        )
    if own.shape != other.shape or own.ndim != 2:
        raise ValueError(
            f"Student and teacher logits must have the same (batch, classes), got {tuple(own.shape)} and "
            f"{tuple(other.shape)}; use a teacher and a student with the same classes."
        )
    return own.float(), other.detach().float()
