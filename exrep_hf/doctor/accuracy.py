"""Whether there is something to learn from the teacher, as the pipeline shows it the training images."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.teacher import ProbedTeacher
from exrep_hf.training.class_look import look_of

# Standard deviations of a share that guessing may be above chance by.
_DEVIATIONS = 3.0
# Of fewer images a fair teacher may get as few right as guessing.
_FEWEST = 50
# A student that was trained on these very images may be right about more of them than its teacher.
_MUCH_BETTER = 0.2


def check_accuracy(patient: Patient) -> Iterator[Finding]:
    """Score student and teacher on labelled training images; look whether the teacher's classes are another's."""
    count = int((patient.labels >= 0).sum())
    if count < _FEWEST:
        if patient.rows:
            yield Finding("fine", f"not scored: {count} of the training images that were looked at have a label")
        return
    student = patient.student if patient.student_is_ready else None
    right_student = None if student is None else share_right(student, patient.labels)
    if right_student is not None and student is not None:
        yield _of_student(patient, right_student, student.shape[-1], count)
    if patient.teacher is None or not patient.teacher_is_ready:
        return
    numbers = patient.teacher_labels
    known = int((numbers >= 0).sum())
    if known < _FEWEST:
        return
    right, classes = share_right(patient.teacher, numbers), patient.teacher.shape[-1]
    told = f"the teacher is right about {right:.1%} of {known} training images"
    look = look_of(_guesses(patient.teacher), numbers, classes)
    if look is not None and look.is_another_order:
        yield Finding(
            "waste",
            f"{told}, and about {look.reordered:.1%} if its classes stand in another order: they are not what they "
            "are called, or were matched by position",
            "Give `--classes` a mapping from the teacher's names to the data's, or correct its `id2label`.",
        )
    elif right <= above_chance(classes, known):
        yield _at_chance(patient, f"{told}, as good as guessing ({1 / classes:.1%})")
    elif right_student is not None and right_student > right + _MUCH_BETTER:
        yield Finding(
            "warning",
            f"{told}, the student about {right_student:.1%}",
            "Make sure that the teacher is the better one on images that neither has seen.",
        )
    else:
        yield Finding("fine", told)


def _at_chance(patient: Patient, told: str) -> Finding:
    """A probe was fitted on these very images: its head is not random, but it gets crops of them here."""
    if isinstance(patient.trainer.teacher, ProbedTeacher):
        return Finding(
            "waste",
            f"{told}, as training crops them: the probe on its features does not tell these classes apart",
            "Take a teacher whose probe is better, or crops that show more of each image (`--scale 0.5 1`).",
        )
    return Finding(
        "waste",
        f"{told}: its head looks random, or its images are not prepared as it wants them",
        "Take a teacher that was trained on these classes, `--teacher_head probe`, or give `--classes`.",
    )


def _of_student(patient: Patient, right: float, classes: int, count: int) -> Finding:
    told = f"the student is right about {right:.1%} of {count} training images"
    if not patient.student_knows or right > above_chance(classes, count):
        return Finding("fine", told)
    return Finding(
        "warning",
        f"{told}, as good as guessing ({1 / classes:.1%}): its head looks random, or its classes stand in another "
        "order",
        "Take a student that was trained on these classes, or say that its head is new (`--student_new_head`).",
    )


def above_chance(classes: int, images: int) -> float:
    """Return the share that guessing hardly gets right."""
    chance = 1 / classes
    return chance + _DEVIATIONS * math.sqrt(chance * (1 - chance) / images)


def share_right(logits: Tensor, labels: Tensor) -> float:
    """Return the share of labelled images whose class has the highest logit.

    Args:
        logits: `(images, classes)`.
        labels: `(images,)`, -1 where there is none.
    """
    labelled = labels >= 0
    return (_guesses(logits)[labelled] == labels[labelled]).float().mean().item()


def _guesses(logits: Tensor) -> Tensor:
    return torch.nan_to_num(logits).argmax(-1)
