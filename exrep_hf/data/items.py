"""A look at a data set's items before training starts."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import IterableDataset


def check_items(dataset: Any, needed: Sequence[str], num_labels: int, name: str = "train_dataset") -> None:
    """Make sure that the first and last item of a data set hold what the loss needs.

    A look at two items finds a wrong format at once; it can't find a single bad row of a data set that only yields
    its items one by one.

    Args:
        dataset: a map-style data set; anything else is left to the first step.
        needed: keys that items have to hold, beside `pixel_values`.
        num_labels: the model's number of classes.
        name: what messages call the data set.

    Raises:
        ValueError: if the data set is empty, an item is no dict or lacks a key, a label is outside the classes, or a
            needed `sample_index` is outside the data set.
    """
    if not is_map_style(dataset):
        return
    length = len(dataset)
    if length == 0:
        raise ValueError(f"`{name}` is empty; expected at least one image.")
    for row in sorted({0, length - 1}):
        item = dataset[row]
        if not isinstance(item, Mapping):
            raise ValueError(
                f"Row {row} of `{name}` is a {type(item).__name__}; expected a dict with `pixel_values`. Return such "
                "dicts from `__getitem__`, or pass an HF `Dataset` with image and label columns."
            )
        keys = {"labels" if key == "label" else key for key in item}
        missing = [key for key in ("pixel_values", *needed) if key not in keys]
        if missing:
            raise ValueError(
                f"Row {row} of `{name}` has no {missing}, only {sorted(item)}. Let its items hold them, pass an HF "
                "`Dataset` with image and label columns, or set the weights of the terms that need them to 0."
            )
        if "labels" in keys:
            label = item["labels"] if "labels" in item else item["label"]
            _check_number(label, f"The label of row {row} of `{name}`", num_labels, "the student's classes")
        if "sample_index" in needed:
            what = f"The `sample_index` of row {row} of `{name}`"
            _check_number(item["sample_index"], what, length, f"positions in {length} images (`num_samples`)")


def is_map_style(dataset: Any) -> bool:
    """Whether rows can be asked for by number, as opposed to an iterable data set, or none at all."""
    # torch's iterable data sets inherit a `__getitem__` that only raises.
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def _check_number(value: Any, what: str, count: int, meaning: str) -> None:
    expected = f"expected an integer from 0 to {count - 1}: {meaning}."
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{what} is {value!r}; {expected}") from error
    if not 0 <= number < count:
        raise ValueError(f"{what} is {number}; {expected}")
