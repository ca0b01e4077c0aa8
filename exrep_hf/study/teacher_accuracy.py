"""What a teacher reaches on a study's images, among the classes that it teaches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, Value
from torch import Tensor

from exrep_hf.arguments import DataArguments, DistillationArguments
from exrep_hf.data import ClassMap, label_names
from exrep_hf.data.classes import HasClasses
from exrep_hf.study.run import Metrics, evaluate
from exrep_hf.study.stages import Classifier, in_float32
from exrep_hf.teacher import TeacherSource

LABEL = "label"


@dataclass(frozen=True)
class _Names:
    """Classes of a data set, as a `ClassMap` takes them."""

    num_labels: int
    id2label: Mapping[int, str]


def evaluate_teacher(
    teacher: Classifier, images: Dataset, args: DistillationArguments, data_args: DataArguments
) -> Metrics | None:
    """Evaluate a teacher: of its classes those of the images alone count, as in the term that compares logits.

    Images of a class that it does not know are taken as wrong.

    Args:
        teacher: a classifier.
        images: with a column `label`.
        args: where and how to evaluate.
        data_args: how classes are matched.

    Returns:
        `accuracy` and `top5_accuracy`, in [0, 1]; the loss too where teacher and images have the same classes. None
        where the teacher knows too few of them.

    Raises:
        NonFiniteError: if a figure is not finite.
    """
    teacher = in_float32(teacher)
    names = label_names(images, LABEL)
    if names is None:
        return evaluate(teacher, images, None, args, data_args)
    data, config = _Names(len(names), dict(enumerate(names))), teacher.classifier.config
    try:
        classes = ClassMap(data, config, data_args.class_rule(), names, ("the data set", "the teacher"), partial=True)
    except ValueError:
        return None
    if classes.num_shared == len(names) == config.num_labels:
        return evaluate(teacher, images, None, args, data_args)
    shared = range(len(names)) if classes.student_columns is None else classes.student_columns
    columns = shared if classes.teacher_columns is None else classes.teacher_columns
    known = _numbered_by(images, dict(zip(shared, columns, strict=True)))
    if not len(known):
        return None
    metrics = evaluate(teacher, known, None, args, data_args, _Among(columns))
    share = len(known) / len(images)
    return {name: metrics[name] * share for name in ("accuracy", "top5_accuracy")}


def described_classes(
    student: HasClasses, teacher: TeacherSource | None, data_args: DataArguments, names: Sequence[str] | None
) -> dict[str, Any] | None:
    """Return which of a teacher's classes are a student's, as `ClassMap.described`; None where they are unrelated."""
    if teacher is None or teacher.num_labels is None:
        return None
    try:
        return ClassMap(student, teacher, data_args.class_rule(), names, partial=True).described()
    except ValueError:
        return None


def _numbered_by(images: Dataset, numbers: Mapping[int, int]) -> Dataset:
    """Return the images of some classes, with other numbers and no names."""
    labels = list(images[LABEL])
    rows = [row for row, label in enumerate(labels) if label in numbers]
    kept = images.select(rows).remove_columns(LABEL)
    return kept.add_column(LABEL, [numbers[labels[row]] for row in rows], feature=Value("int64"))


class _Among:
    """Leaves all but some classes out of an evaluation.

    Args:
        columns: their numbers.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        self.columns = list(columns)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logits `(batch, num_labels)` that are lowest for all other classes."""
        among = torch.full_like(logits, torch.finfo(logits.dtype).min)
        among[:, self.columns] = logits[:, self.columns]
        return among
