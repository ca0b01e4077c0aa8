"""Classes of data sets and models: what they are called, and whether they mean the same."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from datasets import ClassLabel, Dataset, DatasetDict, Value


def label_names(dataset: Dataset, label_column: str) -> list[str] | None:
    """Return the names of the classes in the order of their numbers, or `None` where the data set has none."""
    feature = dataset.features[label_column]
    return list(feature.names) if isinstance(feature, ClassLabel) else None


class HasClasses(Protocol):
    """Anything that numbers and names classes: a model's configuration, a teacher."""

    @property
    def num_labels(self) -> int | None:
        """Number of classes."""

    @property
    def id2label(self) -> Mapping[Any, str] | None:
        """Name of each class number."""


def check_same_classes(student: HasClasses, teacher: HasClasses) -> None:
    """Make sure that the outputs of student and teacher stand for the same classes in the same order.

    Raises:
        ValueError: if their numbers differ, or both name the same classes in another order.
    """
    if student.num_labels != teacher.num_labels:
        raise ValueError(
            f"The student has {student.num_labels} classes and the teacher has {teacher.num_labels}; expected the "
            "same number. Use models trained on the same classes, or give the student a new head with num_labels."
        )
    student_names, teacher_names = class_names(student), class_names(teacher)
    if student_names and teacher_names:
        _check_order("student", student_names, "teacher", teacher_names)


def check_class_order(config: HasClasses, names: Sequence[str] | None) -> None:
    """Make sure that a model and a data set that name the same classes number them alike.

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
    """Return the names of a model's classes, or `None` where they are transformers' placeholders (`LABEL_0` ...)."""
    id2label = config.id2label or {}
    names = [str(name) for _, name in sorted((int(number), name) for number, name in id2label.items())]
    if not names or names == [f"LABEL_{number}" for number in range(len(names))]:
        return None
    return names


def names_or_numbers(names: Sequence[str] | None, num_labels: int) -> list[str]:
    """Return the names of classes, or their numbers where there are no names."""
    return list(names) if names else [str(number) for number in range(num_labels)]


def _check_order(first: str, first_names: list[str], second: str, second_names: list[str]) -> None:
    if first_names == second_names or sorted(first_names) != sorted(second_names):
        return
    number = next(n for n, pair in enumerate(zip(first_names, second_names, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{first} and {second} have the same classes in another order: class {number} is {first_names[number]!r} to "
        f"the {first} and {second_names[number]!r} to the {second}. Reorder the classes of one of them."
    )


def encode_labels(splits: DatasetDict, label_column: str) -> DatasetDict:
    """Turn text labels into class numbers, in alphabetical order of all splits' labels together.

    `DatasetDict.class_encode_column` numbers each split on its own, so that a class missing from one split would shift
    the numbers there. Labels that are numbers already are returned as they are.

    Raises:
        ValueError: if a label is missing.
    """
    feature = next(iter(splits.values())).features[label_column]
    if feature not in (Value("string"), Value("large_string")):
        return splits
    names: set[str] = set()
    for split, rows in splits.items():
        labels = rows.unique(label_column)
        if None in labels:
            raise ValueError(
                f"A label in the column {label_column!r} of the split {split!r} is missing: remove the rows "
                "without label."
            )
        names.update(labels)
    return splits.cast_column(label_column, ClassLabel(names=sorted(names)))
