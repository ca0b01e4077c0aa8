"""What the sets of pixels in a batch are called: the student's, and those that are made for a teacher."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

STUDENT_PIXELS = "pixel_values"
TEACHER_PIXELS = "teacher_pixel_values"


def teacher_pixels_name(place: int, count: int) -> str:
    """Return the key of one of a teacher's sets of pixels.

    Args:
        place: which one, from 0 on.
        count: how many the teacher wants. One is `teacher_pixel_values`; several are `teacher_pixel_values_0`,
            `teacher_pixel_values_1` and so on.
    """
    return TEACHER_PIXELS if count == 1 else f"{TEACHER_PIXELS}_{place}"


def pixel_names(content: Mapping[str, Any]) -> list[str]:
    """Return the keys of an item or a batch that hold pixels, the student's first and the teacher's in their order."""
    of_teacher = [name for name in content if name == TEACHER_PIXELS or _number(name) is not None]
    return [STUDENT_PIXELS] * (STUDENT_PIXELS in content) + sorted(of_teacher, key=lambda name: _number(name) or 0)


def teacher_pixels(batch: Mapping[str, Tensor], count: int) -> list[Tensor]:
    """Return the pixels for a teacher that wants several sets of them.

    The student's serve where the batch holds none of a place, as a teacher that wants the same has none of its own.

    Args:
        batch: `pixel_values`, and the keys of `teacher_pixels_name`, each `(batch, channels, height, width)`.
        count: how many sets the teacher wants.

    Raises:
        ValueError: if the batch holds sets for a teacher that wants another number of them, or lacks one.
    """
    if count == 0:
        return []
    names = [teacher_pixels_name(place, count) for place in range(count)]
    unexpected = [name for name in pixel_names(batch) if name not in (STUDENT_PIXELS, *names)]
    if unexpected:
        raise ValueError(
            f"The batch holds {unexpected}, and the teacher wants {count} set{'s' * (count != 1)} of pixels; expected "
            f"{names}. Name them so in the data set's items."
        )
    missing = [name for name in names if name not in batch and STUDENT_PIXELS not in batch]
    if missing:
        raise ValueError(
            f"The batch has neither {missing} nor `pixel_values`, only {sorted(batch)}; expected images. "
            "Let the data set's items hold them."
        )
    return [batch[name] if name in batch else batch[STUDENT_PIXELS] for name in names]


def _number(name: str) -> int | None:
    number = name.removeprefix(f"{TEACHER_PIXELS}_")
    return int(number) if number != name and number.isdecimal() else None
