"""Several teachers as one."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from exrep_hf.data import ClassMap, Preprocessing, ViewPolicy, class_names
from exrep_hf.data.class_names import unambiguous_names
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.pixels import pixel_names, teacher_pixels, teacher_pixels_name
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.identity import joined_fingerprint
from exrep_hf.teacher.reading_ahead import AnswerReader, SeveralReaders, answer_reader_of
from exrep_hf.teacher.resolve import as_teacher
from exrep_hf.teacher.source import TeacherSource, compile_source

logger = logging.getLogger(__name__)


class TeacherEnsemble:
    """Several teachers that answer as one: the weighted mean of their logits, and their features side by side.

    The mean is of logits, whose softmax is the normalised geometric mean of the teachers' probabilities at every
    temperature alike (Hinton et al., 2015, name it beside the arithmetic one). The mean of probabilities has other
    logits at each temperature, so that answers stored once would be right at one temperature alone.

    Each teacher sees the same view of an image, in its own size and normalisation.

    Args:
        teachers: whatever `DistillationTrainer` takes as a teacher, either all asked at each step or all stored for
            the same views of the same images. Where their classes differ the ensemble has those that all have: at
            least two, and at least half of the fewest.
        weights: what each teacher's logits count, ≥ 0; their sum need not be 1. All the same where not given.
        classes: how the teachers' classes are matched: by `names`, or by `position` where names don't tell.

    Attributes:
        teachers: the sources.
        weights: with a sum of 1.

    Raises:
        ValueError: if there is no teacher, the weights are not one number ≥ 0 for each, or the teachers differ in
            classes or views.
    """

    def __init__(
        self,
        teachers: Sequence[TeacherSource | nn.Module | str | os.PathLike[str]],
        weights: Sequence[float] | None = None,
        classes: Literal["names", "position"] = "names",
    ) -> None:
        self.teachers = tuple(source for teacher in teachers if (source := as_teacher(teacher)) is not None)
        if not self.teachers or len(self.teachers) != len(teachers):
            raise ValueError(
                f"`teachers` holds {len(self.teachers)} teachers of {len(teachers)} entries; expected at least one, "
                "and no None. Pass the teachers to be asked."
            )
        self.weights = _normalised(weights, len(self.teachers))
        self._classes = _match_classes(self.teachers, classes)
        _check_views(self.teachers)

    @property
    def num_labels(self) -> int | None:
        """Number of classes that all teachers have."""
        return self._classes.num_labels

    @property
    def id2label(self) -> Mapping[int, str] | None:
        """Names of the classes, from the teacher with the fewest that names them."""
        return self._classes.id2label

    @property
    def feature_dim(self) -> int | None:
        """Width of all features together; None if a teacher gives none."""
        widths = [teacher.feature_dim for teacher in self.teachers]
        known = [width for width in widths if width is not None]
        return sum(known) if len(known) == len(widths) else None

    @property
    def preprocessing(self) -> tuple[Preprocessing | None, ...]:
        """The teachers' sets of pixels, one teacher after another."""
        return tuple(entry for teacher in self.teachers for entry in teacher.preprocessing)

    @property
    def views(self) -> ViewPolicy | None:
        """The views that all teachers can be queried on."""
        return self.teachers[0].views

    @property
    def fingerprint(self) -> str | None:
        """Hash of the teachers' fingerprints and of the weights; None if a teacher has none."""
        parts = [teacher.fingerprint for teacher in self.teachers]
        known = [part for part in parts if part is not None]
        return joined_fingerprint([*known, *map(repr, self.weights)]) if len(known) == len(parts) else None

    def networks(self) -> list[nn.Module]:
        """Return the networks of all teachers."""
        return [network for teacher in self.teachers for network in teacher.networks()]

    def compile(self, backend: str | None, mode: str | None) -> None:
        """Compile what the teachers' answers come from."""
        for teacher in self.teachers:
            compile_source(teacher, backend, mode)

    def answer_reader(self) -> AnswerReader | None:
        """Return what reads the answers of all teachers that can be read ahead; None where there are none."""
        readers = [reader for teacher in self.teachers if (reader := answer_reader_of(teacher)) is not None]
        return SeveralReaders(readers) if readers else None

    def check_images(self, dataset: Any) -> None:
        """Make sure that each teacher can be queried on a training data set.

        Raises:
            ValueError: if one can't.
        """
        for teacher in self.teachers:
            teacher.check_images(dataset)

    def check_temperature(self, temperature: float) -> None:
        """Make sure that each teacher has logits for a temperature.

        Raises:
            ValueError: if one has none.
        """
        for teacher in self.teachers:
            teacher.check_temperature(temperature)

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Ask each teacher.

        Returns:
            The mean of the logits `(batch, num_labels)` and all features `(batch, feature_dim)`, float32.
        """
        batches = self._batches(batch)
        answers = [teacher(own, temperature=temperature) for teacher, own in zip(self.teachers, batches, strict=True)]
        logits = [
            classes.in_students_order(answer.logits)
            for classes, answer in zip(self._classes.maps, answers, strict=False)
            if answer.logits is not None
        ]
        features = [answer.features for answer in answers if answer.features is not None]
        weighted = [weight * each for weight, each in zip(self.weights, logits, strict=False)]
        return TeacherOutput(
            logits=torch.stack(weighted).sum(0) if len(logits) == len(answers) else None,
            features=torch.cat(features, -1) if len(features) == len(answers) else None,
        )

    def _batches(self, batch: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return each teacher's batch: what there is beside pixels, and its own sets of them under its own names."""
        count, first = len(self.preprocessing), 0
        pixels = teacher_pixels(batch, count)
        shared = {name: batch[name] for name in batch.keys() - set(pixel_names(batch))}
        batches = []
        for teacher in self.teachers:
            size = len(teacher.preprocessing)
            own = {teacher_pixels_name(place, size): pixels[first + place] for place in range(size)}
            batches.append(shared | own)
            first += size
        return batches


def as_one_teacher(teacher: Any) -> TeacherSource | None:
    """Return what `as_teacher` does; of a list of teachers their `TeacherEnsemble`, of a list of one that one.

    Raises:
        ValueError: as `as_teacher` and `TeacherEnsemble` do.
    """
    if not isinstance(teacher, list | tuple):
        return as_teacher(teacher)
    return as_teacher(teacher[0]) if len(teacher) == 1 else TeacherEnsemble(teacher)


def _normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count:
        raise ValueError(f"`weights` has {len(given)} numbers; expected {count}, one for each teacher.")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not any(given):
        raise ValueError(
            f"`weights` is {given}; expected finite numbers ≥ 0, one of them above 0. Leave it out to have all "
            "teachers count the same."
        )
    return tuple(weight / math.fsum(given) for weight in given)


@dataclass(frozen=True)
class _SharedClasses:
    """The classes of an ensemble: those that all teachers have.

    Attributes:
        num_labels: number of them; None where there are no logits.
        id2label: their names; None where they have none.
        maps: which of each teacher's they are.
    """

    num_labels: int | None
    id2label: Mapping[int, str] | None
    maps: list[ClassMap]


def _match_classes(teachers: Sequence[TeacherSource], rule: Literal["names", "position"]) -> _SharedClasses:
    """Find the classes of the named teacher that has the fewest among those of each other one."""
    answering = [teacher for teacher in teachers if teacher.num_labels is not None]
    if not answering:
        return _SharedClasses(None, None, [])
    if len(answering) < len(teachers):
        place = next(place for place, teacher in enumerate(teachers) if teacher.num_labels is None)
        raise ValueError(
            f"Teacher {place} of the ensemble has no logits and teacher {teachers.index(answering[0])} has "
            f"{answering[0].num_labels} classes; expected the same classes. Leave one of them out."
        )
    named = [teacher for teacher in teachers if class_names(teacher)] or answering
    first = min(named, key=lambda teacher: teacher.num_labels or 0)
    called = f"teacher {teachers.index(first)} of the ensemble"

    def matched(classes: HasClasses, partial: bool) -> list[ClassMap]:
        whose = [(called, f"teacher {place} of the ensemble") for place in range(len(teachers))]
        return [
            ClassMap(classes, teacher, rule, called=pair, partial=partial)
            for teacher, pair in zip(teachers, whose, strict=True)
        ]

    maps = matched(first, partial=True)
    if not any(each.left_out for each in maps):
        return _SharedClasses(first.num_labels, first.id2label, maps)
    shared_by_all = set.intersection(*(set(each.student_columns or range(each.student.count)) for each in maps))
    names = unambiguous_names(class_names(first) or ())
    kept = [names[number] for number in sorted(shared_by_all)]
    for place, each in enumerate(maps):
        if each.left_out:
            logger.warning(
                "Teacher %d of the ensemble does not know %d of the %d classes of %s (%s): the ensemble answers about "
                "the %d that all know.",
                *(place, len(each.left_out), each.student.count, called, each.left_out_with_nearest, len(kept)),
            )
    if len(kept) < 2:
        raise ValueError(
            f"The teachers of the ensemble have {len(kept)} classes in common; expected at least two. Leave one of "
            "them out."
        )
    id2label = dict(enumerate(kept))
    return _SharedClasses(len(kept), id2label, matched(PreTrainedConfig(id2label=id2label), partial=False))


def _check_views(teachers: Sequence[TeacherSource]) -> None:
    for place, teacher in enumerate(teachers):
        if teacher.views != teachers[0].views:
            raise ValueError(
                f"Teacher {place} of the ensemble can be queried on {_about(teacher.views)}, and teacher 0 on "
                f"{_about(teachers[0].views)}; expected the same. Store the answers of all for the same views, or ask "
                "all at each step."
            )


def _about(views: ViewPolicy | None) -> str:
    return "any image" if views is None else f"the views {views}"
