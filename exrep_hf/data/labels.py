"""The column of labels: class numbers, whatever they are stored as, and rows without one."""

import logging
from typing import Any, Literal

import torch
from datasets import ClassLabel, Dataset, Value
from datasets.features.features import FeatureType
from torch import Tensor

logger = logging.getLogger(__name__)

_TEXTS = ("string", "large_string")
MISSING = -1
"""What items hold in place of a label that is missing."""


def with_class_numbers(dataset: Dataset, label_column: str, name: str) -> Dataset:
    """Turn labels that are stored as whole decimals (1.0), true or false into class numbers; others stay.

    Args:
        dataset: a data set.
        label_column: its column with labels.
        name: what messages call the data set.

    Raises:
        ValueError: if the column holds anything else than one class a row.
    """
    feature = dataset.features[label_column]
    kind = feature.dtype if isinstance(feature, Value) else ""
    if kind == "null":
        # No row has a label.
        return dataset.cast_column(label_column, Value("int64"))
    if isinstance(feature, ClassLabel) or "int" in kind or kind in _TEXTS:
        return dataset
    if not (kind == "bool" or kind.startswith(("float", "decimal"))):
        raise ValueError(
            f"The label column {label_column!r} of {name} holds {_kind(feature)}; expected one class a row, as a "
            "number or a text. Name another column, or make one class of it with `map`."
        )
    for row, label in enumerate(dataset.with_format(None)[label_column][:]):
        if label is not None and label % 1 != 0:
            raise ValueError(
                f"The label in row {row}, column {label_column!r}, of {name} is {label}; expected the number of a "
                "class. Correct it, or name another column."
            )
    return dataset.cast_column(label_column, Value("int64"))


def is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, or below 0: -1 in the Hub's test splits, -100 for the loss."""
    return label is None or (isinstance(label, int) and label < 0)


def unlabelled_rows(dataset: Dataset, label_column: str) -> list[int]:
    """Return the rows whose label is missing."""
    labels = dataset.with_format(None)[label_column][:]
    return [row for row, label in enumerate(labels) if is_missing(label)]


def class_of_most(labels: Tensor) -> Tensor:
    """Return the class of each image of a batch `(batch,)`: of a mixture the one that there is most of.

    Args:
        labels: `(batch,)` class numbers, or of mixed images shares of classes `(batch, num_labels)`.

    Returns:
        -1 where there is no label, or more without one than of any class.
    """
    if not labels.is_floating_point():
        return labels
    shares, classes = labels.max(-1)
    return torch.where(shares >= 1 - labels.sum(-1), classes, MISSING)


def check_labelled(dataset: Dataset, label_column: str, name: str, why: str) -> None:
    """Make sure that every row has a label.

    Args:
        dataset: a data set.
        label_column: its column with labels.
        name: what messages call the data set.
        why: what labels are needed for, and a way without them if there is one.

    Raises:
        ValueError: if labels are missing, with how many and the first row.
    """
    if rows := unlabelled_rows(dataset, label_column):
        raise ValueError(
            f"{len(rows)} of {len(dataset)} labels in the column {label_column!r} of {name} are missing (None or "
            f"negative), the first in row {rows[0]}; expected a class in each row: {why} Leave such rows out."
        )


def usable_labels(
    dataset: Dataset, label_column: str | None, name: str, needed: Literal["all", "some", "none"], why: str = ""
) -> tuple[Dataset, str | None]:
    """Return a data set with class numbers, and its label column; None where no row has a label.

    Rows without one, if others have, are told of.

    Args:
        dataset: a data set.
        label_column: its column with labels, if there is one.
        name: what messages call the data set.
        needed: which rows need a label: `all`, `some`, or `none`.
        why: as in `check_labelled`.

    Raises:
        ValueError: for labels that are no classes, or missing and needed.
    """
    if label_column is None:
        return dataset, None
    dataset = with_class_numbers(dataset, label_column, name)
    if not (rows := unlabelled_rows(dataset, label_column)):
        return dataset, label_column
    if needed == "all" or (needed == "some" and len(rows) == len(dataset)):
        check_labelled(dataset, label_column, name, why)
    if len(rows) == len(dataset):
        return dataset, None
    told = "%d of %d rows of %s have no label: what needs labels is computed on the others."
    logger.warning(told, len(rows), len(dataset), name)
    return dataset, label_column


def check_two_classes(names: list[str] | None, labels: Dataset, name: str) -> None:
    """Make sure that there is something to tell apart.

    Raises:
        ValueError: if all images are of one class.
    """
    found = names if names is not None else sorted({each for each in labels["label"][:] if not is_missing(each)})
    if len(found) == 1:
        raise ValueError(f"{name} has one class only, {found[0]!r}; expected two or more. Add the others.")


def _kind(feature: FeatureType) -> str:
    return str(feature.dtype) if isinstance(feature, Value) else f"a {type(feature).__name__} in each row"
