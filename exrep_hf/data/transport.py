"""Images travel as pixels, a byte each, and become what the models take where these are."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from exrep_hf.data.pixels import STUDENT_PIXELS, teacher_pixels_name
from exrep_hf.data.preprocessing import Preprocessing


class Normalising:
    """Makes normalised tensors of a batch's pixels: the one place where they become what student and teacher take.

    Args:
        student: how the student wants its images; None where that is not known.
        teachers: how the teacher wants each of its sets of pixels; None where that is not known of one.
    """

    def __init__(self, student: Preprocessing | None, teachers: Sequence[Preprocessing | None] = ()) -> None:
        self._models = (student, *teachers)
        names = [teacher_pixels_name(place, len(teachers)) for place in range(len(teachers))]
        wanted = dict(zip((STUDENT_PIXELS, *names), (student, *teachers), strict=True))
        self._wanted = {name: each for name, each in wanted.items() if each is not None}

    @classmethod
    def for_teacher(cls, teachers: Sequence[Preprocessing | None]) -> "Normalising":
        """Return it for a teacher alone, whose first set of pixels stands where a student's would."""
        return cls(next(iter(teachers), None), teachers)

    def is_for(self, student: Preprocessing, teachers: Sequence[Preprocessing]) -> bool:
        """Return whether it is for these models."""
        return self._models == (student, *teachers)

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch whose pixels are float32.

        Args:
            batch: sets of pixels `(batch, channels, height, width)`, on any device. Those of uint8 are normalised;
                others are taken as normalised already, by a data set of tensors.
        """
        return {name: self._normalised(name, value) for name, value in batch.items()}

    def _normalised(self, name: str, value: Tensor) -> Tensor:
        wanted = self._wanted.get(name)
        return value if wanted is None or value.dtype != torch.uint8 else wanted.normalised(value)

    def after(self, collate: Callable[[Any], Mapping[str, Tensor]]) -> Callable[[Any], dict[str, Tensor]]:
        """Return a collator whose batches are normalised already, for those who ask about a few images."""
        return functools.partial(_collated, self, collate)


def _collated(
    normalising: Normalising, collate: Callable[[Any], Mapping[str, Tensor]], items: Any
) -> dict[str, Tensor]:
    return normalising(collate(items))
