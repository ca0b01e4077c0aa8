"""Labels of data sets and classes of models: do they mean the same?"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datasets import ClassLabel, Dataset
from torch import Tensor


def label_names(dataset: Dataset, label_column: str) -> list[str] | None:
    """Returns the names of the classes in the order of their numbers, or `None` where the data set has none."""
    feature = dataset.features[label_column]
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def check_labels(dataset: Dataset, label_column: str, num_labels: int) -> None:
    """Makes sure that every label is a class of the model.

    Raises:
        ValueError: naming the first row whose label is missing, not an integer, or outside 0 ... num_labels - 1.
    """
    for row, label in enumerate(dataset.with_format(None)[label_column][:]):
        if not isinstance(label, int) or not 0 <= label < num_labels:
            raise ValueError(
                f"the label in row {row}, column {label_column!r}, is {label!r}; expected an integer from 0 to "
                f"{num_labels - 1}, as the model has {num_labels} classes. Correct the data set, or use a model with "
                "as many classes as the data set."
            )


def check_label_batch(labels: Tensor, num_labels: int) -> None:
    """Makes sure that the labels `(batch,)` of a batch are classes; only on the CPU: other devices would have to wait.

    Raises:
        ValueError: if one is outside 0 ... num_labels - 1.
    """
    if labels.device.type != "cpu":
        return
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < num_labels:
        raise ValueError(
            f"Labels of a batch range from {low} to {high}; expected 0 to {num_labels - 1}, the student's classes. "
            "Correct the data set."
        )


class HasClasses(Protocol):
    """Anything that numbers and names classes: a model's configuration, a teacher."""

    @property
    def num_labels(self) -> int | None:
        """Number of classes."""

    @property
    def id2label(self) -> Mapping[Any, str] | None:
        """Name of each class number."""


def check_same_classes(student: HasClasses, teacher: HasClasses) -> None:
    """Makes sure that the outputs of student and teacher stand for the same classes in the same order.

    Raises:
        ValueError: if their numbers differ, or both name the same classes in another order.
    """
    if student.num_labels != teacher.num_labels:
        raise ValueError(
            f"the student has {student.num_labels} classes and the teacher has {teacher.num_labels}; expected the "
            "same number. Use models trained on the same classes, or give the student a new head with num_labels."
        )
    student_names, teacher_names = class_names(student), class_names(teacher)
    if student_names and teacher_names:
        _check_order("student", student_names, "teacher", teacher_names)


def check_class_order(config: HasClasses, names: Sequence[str] | None) -> None:
    """Makes sure that a model and a data set that name the same classes number them alike.

    Args:
        config: the model's configuration.
        names: the data set's names, from `label_names`; `None`: nothing to compare.

    Raises:
        ValueError: if both have the same names in another order.
    """
    model_names = class_names(config)
    if model_names and names:
        _check_order("model", model_names, "data set", list(names))


def class_names(config: HasClasses) -> list[str] | None:
    """Returns the names of a model's classes, or `None` where they are transformers' placeholders (`LABEL_0` ...)."""
    id2label = config.id2label or {}
    names = [str(name) for _, name in sorted((int(number), name) for number, name in id2label.items())]
    if not names or names == [f"LABEL_{number}" for number in range(len(names))]:
        return None
    return names


def _check_order(first: str, first_names: list[str], second: str, second_names: list[str]) -> None:
    if first_names == second_names or sorted(first_names) != sorted(second_names):
        return
    number = next(n for n, pair in enumerate(zip(first_names, second_names, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{first} and {second} have the same classes in another order: class {number} is {first_names[number]!r} to "
        f"the {first} and {second_names[number]!r} to the {second}. Reorder the classes of one of them."
    )
