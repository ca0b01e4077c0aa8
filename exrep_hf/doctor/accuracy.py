"""Whether there is something to learn from the teacher, as the pipeline shows it the training images."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient

# Standard deviations of a share that guessing may be above chance by.
_DEVIATIONS = 3.0
_FEWEST = 20


def check_accuracy(patient: Patient) -> Iterator[Finding]:
    """Score student and teacher on labelled training images."""
    labelled = patient.labels >= 0
    count = int(labelled.sum())
    if count < _FEWEST:
        yield Finding("fine", f"not scored: {count} of the training images that were looked at have a label")
        return
    student = None if patient.student is None or not patient.student_is_ready else patient.student
    right_student = None if student is None else _share_right(student[labelled], patient.labels[labelled])
    if right_student is not None:
        yield Finding("fine", f"the student is right about {right_student:.1%} of {count} training images")
    if patient.teacher is None or not patient.teacher_is_ready:
        return
    numbers = patient.trainer.classes.shared_numbers(patient.labels)
    known = numbers >= 0
    if int(known.sum()) < _FEWEST:
        return
    right, classes = _share_right(patient.teacher[known], numbers[known]), patient.teacher.shape[-1]
    told = f"the teacher is right about {right:.1%} of {int(known.sum())} training images"
    chance = 1 / classes
    if right <= chance + _DEVIATIONS * math.sqrt(chance * (1 - chance) / int(known.sum())):
        yield Finding(
            "waste",
            f"{told}, as good as guessing ({chance:.1%}): its head looks random, its classes stand in another order, "
            "or its images are not prepared as it wants them",
            "Take a teacher that was trained on these classes, `--teacher_head probe`, or give `--classes`.",
        )
    elif right_student is not None and right_student > right:
        yield Finding(
            "warning",
            f"{told}, the student about {right_student:.1%}: on images that both may have seen",
            "Make sure that the teacher is the better one on images that neither has seen.",
        )
    else:
        yield Finding("fine", told)


def _share_right(logits: Tensor, labels: Tensor) -> float:
    return (torch.nan_to_num(logits).argmax(-1) == labels).float().mean().item()
