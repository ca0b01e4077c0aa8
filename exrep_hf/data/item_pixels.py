"""Whether the pixels that a data set's items hold are those that student and teacher want."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from exrep_hf.data.pixels import STUDENT_PIXELS, teacher_pixels, teacher_pixels_name
from exrep_hf.data.preprocessing import Preprocessing

# Of mean or standard deviation, for pixels in [0, 1]: less than an 8-bit image can show.
_LEVEL = 1e-3


class PixelRules:
    """What has to hold for the pixels of items and batches.

    What a tensor shows counts: size, channels and normalisation. How it was resized is the data set's own affair.

    Args:
        student: how the student wants its images; None where that is not known.
        teachers: how the teacher wants each of its sets of pixels; None where that is not known of one.
    """

    def __init__(self, student: Preprocessing | None, teachers: Sequence[Preprocessing | None]) -> None:
        self.student = student
        self.teachers = tuple(teachers)
        self._apart: dict[str, tuple[Preprocessing, Preprocessing]] = {}
        for place, teacher in enumerate(self.teachers):
            if student is not None and teacher is not None and teacher != student:
                self._apart[teacher_pixels_name(place, len(self.teachers))] = (student, teacher)

    def check_shared(self, content: Mapping[str, Any], what: str) -> None:
        """Make sure that a teacher is not given the student's pixels where it wants others.

        Args:
            content: an item or a batch.
            what: what messages call it.

        Raises:
            ValueError: naming how the two differ.
        """
        for name, (student, teacher) in self._apart.items():
            shape = getattr(content.get(STUDENT_PIXELS), "shape", ())
            if name not in content and (told := _differences(student, teacher, tuple(shape[-2:]))):
                raise ValueError(
                    f"{what[:1].upper()}{what[1:]} has no `{name}`, only {sorted(map(str, content))}, and the teacher "
                    f"wants other pixels than the student: {told}. Pass the HF `Dataset` of images itself, "
                    f"from which both are made, let the items hold `{name}`, or say by `processing_class` and "
                    "`OnlineTeacher(model, processing_class=…)` how both want their images, if that is not so."
                )

    def check_item(self, item: Mapping[str, Any], what: str, for_teacher: bool) -> dict[str, Tensor]:
        """Make sure that each model gets pixels of its own kind from an item.

        Args:
            item: with `pixel_values`, before it is collated.
            what: what messages call it.
            for_teacher: whether the teacher is asked about such items.

        Returns:
            The pixels by name, `(channels, height, width)` each.

        Raises:
            ValueError: for pixels of another shape or type, or of another preprocessing, than is wanted.
        """
        pixels = {STUDENT_PIXELS: _checked(item[STUDENT_PIXELS], self.student, f"`{STUDENT_PIXELS}` of {what}")}
        if for_teacher and self.teachers:
            teacher_pixels(item, len(self.teachers))
            self.check_shared({**item, **pixels}, what)
            for place, wanted in enumerate(self.teachers):
                if (name := teacher_pixels_name(place, len(self.teachers))) in item:
                    pixels[name] = _checked(item[name], wanted, f"`{name}` of {what}")
        return pixels


def _checked(value: Any, wanted: Preprocessing | None, what: str) -> Tensor:
    try:
        pixels = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} is a {type(value).__name__}; expected a tensor (channels, height, width). Transform images to "
            "tensors in the data set, or pass an HF `Dataset` with an image column."
        ) from error
    channels = None if wanted is None else len(wanted.mean)
    if pixels.ndim != 3 or 0 in pixels.shape or (channels is not None and pixels.shape[0] != channels):
        expected = "(channels, height, width)" if wanted is None else f"({channels}, {wanted.height}, {wanted.width})"
        raise ValueError(
            f"{what} has the shape {tuple(pixels.shape)}; expected {expected}. Let the items hold one image each, "
            "channels first, or pass an HF `Dataset` with an image column."
        )
    if wanted is not None and not pixels.is_floating_point():
        raise ValueError(
            f"{what} is of {pixels.dtype}; expected floating-point pixels, normalised with mean {wanted.mean} and "
            f"std {wanted.std}. Normalise them in the data set, or pass an HF `Dataset` with an image column."
        )
    return pixels


def _differences(student: Preprocessing, teacher: Preprocessing, size: tuple[int, ...]) -> str:
    """Return in words why pixels of a size for the student are not the teacher's; empty where they serve both."""
    told = []
    sizes = [(each.height, each.width) for each in (student, teacher)]
    if sizes[0] != sizes[1] and size != sizes[1]:
        told.append("size {}x{} for the student, {}x{} for the teacher".format(*sizes[0], *sizes[1]))
    for name in ("mean", "std"):
        own, other = getattr(student, name), getattr(teacher, name)
        if len(own) != len(other) or not all(map(_near, own, other)):
            told.append(f"{name} {own} for the student, {other} for the teacher")
    return "; ".join(told)


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=0, abs_tol=_LEVEL)
