"""Whether student and teacher get images as each of them was trained on: size, normalisation, channels."""

from collections.abc import Iterator

import torch
from torch import nn

from exrep_hf.data import Preprocessing
from exrep_hf.data.pixels import STUDENT_PIXELS
from exrep_hf.doctor.accuracy import share_right
from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.pixel_moments import PixelMoments

# Of normalised pixels: what any usual mean and deviation is far from.
_HIGHEST_MEAN, _LOWEST_DEVIATION, _HIGHEST_DEVIATION = 5.0, 0.01, 20.0
# Shares of a side that networks put up with.
_SMALLEST, _LARGEST = 0.6, 1.7
_SAME = 1e-3
# By how much reverse channels have to be better, and of how many images.
_MARGIN, _FEWEST = 0.15, 50


def check_pixels(patient: Patient) -> Iterator[Finding]:
    """Compare how images are prepared with each model's own configuration; measure what comes out."""
    for name, moments in patient.pixels.items():
        whose = "student" if name == STUDENT_PIXELS else "teacher"
        if fault := _measured(moments):
            yield Finding(
                "waste",
                f"the {whose}'s pixels {fault}",
                "Normalise them as the model wants it: leave that to its image processor, or give items in [0, 1] "
                "less the mean, over the deviation.",
            )
    trainer = patient.trainer
    student = trainer.student
    if trainer.processing_class is not None and not student.starts_from_nothing:
        given = Preprocessing.from_image_processor(trainer.processing_class)
        yield from _compared("student", student.classifier, given)
    teacher = trainer.teacher
    networks = [] if teacher is None else list(teacher.networks())
    if teacher is None or len(networks) != len(teacher.preprocessing) or not patient.teacher_is_ready:
        return
    for network, wanted in zip(networks, teacher.preprocessing, strict=True):
        if wanted is not None:
            yield from _compared("teacher", network, wanted)


def check_channels(patient: Patient) -> Iterator[Finding]:
    """Look whether student or teacher is right more often with its channels in reverse order (BGR)."""
    three = all(len(moments.mean) == 3 for moments in patient.pixels.values())
    if not patient.pixels or not three or int((patient.labels >= 0).sum()) < _FEWEST:
        return
    student, answer = patient.ask_in_reverse()
    pairs = {}
    if patient.student is not None and patient.student_is_ready:
        pairs["student"] = (patient.student, student, patient.labels)
    if patient.teacher is not None and answer.logits is not None and patient.teacher_is_ready:
        pairs["teacher"] = (patient.teacher, answer.logits, patient.teacher_labels)
    for who, (logits, in_reverse, labels) in pairs.items():
        if int((labels >= 0).sum()) < _FEWEST:
            continue
        right, other = share_right(logits, labels), share_right(in_reverse, labels)
        if other > right + _MARGIN:
            yield Finding(
                "waste" if who == "teacher" else "warning",
                f"the {who} is right about {right:.1%} of the training images, and about {other:.1%} with their "
                "channels in reverse order: it gets BGR for RGB",
                "Let the data set give channels in the order red, green, blue.",
            )


def _measured(moments: PixelMoments) -> str | None:
    mean, deviation = moments.mean, moments.deviation
    if not bool(torch.isfinite(mean).all()):
        return "are not finite"
    told = f"have means of {_numbers(mean.tolist())} and deviations of {_numbers(deviation.tolist())} when normalised"
    if float(mean.abs().max()) > _HIGHEST_MEAN or float(deviation.max()) > _HIGHEST_DEVIATION:
        return f"{told}: far from 0 and 1"
    if float(deviation.max()) < _LOWEST_DEVIATION:
        return f"{told}: hardly anything varies"
    return None


def _compared(whose: str, network: nn.Module, given: Preprocessing) -> Iterator[Finding]:
    try:
        own = Preprocessing.from_model(network)
    except ValueError:
        # Nothing is known of what it wants.
        return
    remedy = f"Leave the {whose}'s image processor out, or make sure that its weights were trained with it."
    if len(own.mean) != len(given.mean):
        kinds = {1: "grey", 3: "RGB"}
        yield Finding(
            "warning", f"the {whose} gets {kinds[len(given.mean)]} images, its own are {kinds[len(own.mean)]}", remedy
        )
    elif _differ(own.mean, given.mean) or _differ(own.std, given.std):
        reverse = not (_differ(own.mean[::-1], given.mean) or _differ(own.std[::-1], given.std))
        yield Finding(
            "warning",
            f"the {whose}'s images are normalised by mean {_numbers(given.mean)} and std {_numbers(given.std)}, its "
            f"own by {_numbers(own.mean)} and {_numbers(own.std)}" + ": channels in reverse order (BGR)" * reverse,
            remedy,
        )
    shares = given.height / own.height, given.width / own.width
    if whose == "teacher" and not all(_SMALLEST <= share <= _LARGEST for share in shares):
        yield Finding(
            "warning",
            f"the teacher's images have {given.height} × {given.width} pixels, its own {own.height} × {own.width}",
            remedy,
        )


def _differ(own: tuple[float, ...], given: tuple[float, ...]) -> bool:
    return any(abs(one - other) > _SAME for one, other in zip(own, given, strict=True))


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
