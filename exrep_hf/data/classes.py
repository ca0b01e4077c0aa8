"""Classes of data sets and models: how many there are, and what they are called."""

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


def encode_labels(splits: DatasetDict, label_column: str) -> DatasetDict:
    """Turn text labels into class numbers, in alphabetical order of all splits' labels together.

    `DatasetDict.class_encode_column` numbers each split on its own, so that a class missing from one split would shift
    the numbers there. Labels that are numbers already, or missing (None), are returned as they are.
    """
    feature = next(iter(splits.values())).features[label_column]
    if feature not in (Value("string"), Value("large_string")):
        return splits
    names: set[str] = set()
    for rows in splits.values():
        names.update(label for label in rows.unique(label_column) if label is not None)
    return splits.cast_column(label_column, ClassLabel(names=sorted(names)))
