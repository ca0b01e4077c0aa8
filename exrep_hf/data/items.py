"""A look at a data set's items before training starts."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset, IterableDataset


def check_items(dataset: Any, needed: Sequence[str], num_labels: int) -> None:
    """Make sure that the first and last item of a training data set hold what the loss needs.

    A look at two items finds a wrong format at once; it can't find a single bad row of a data set that only yields
    its items one by one.

    Args:
        dataset: a map-style data set; anything else is left to the first step.
        needed: keys that items have to hold, beside `pixel_values`.
        num_labels: the model's number of classes.

    Raises:
        ValueError: if the data set is empty, an item lacks a key, a label is outside the classes, or a
            `sample_index` is outside the data set.
    """
    if dataset is None or isinstance(dataset, IterableDataset) or not isinstance(dataset, Dataset):
        return
    length = len(dataset)  # type: ignore[arg-type]
    if length == 0:
        raise ValueError("`train_dataset` is empty; expected at least one image.")
    for row in {0, length - 1}:
        item = dataset[row]
        keys = {"labels" if key == "label" else key for key in item}
        missing = [key for key in ("pixel_values", *needed) if key not in keys]
        if missing:
            raise ValueError(
                f"Row {row} of `train_dataset` has no {missing}, only {sorted(item)}. Let its items hold them, pass "
                "an HF `Dataset` with image and label columns, or set the weights of the terms that need them to 0."
            )
        label = item.get("labels", item.get("label"))
        if label is not None and not 0 <= int(label) < num_labels:
            raise ValueError(
                f"The label of row {row} is {int(label)}; expected 0 to {num_labels - 1}, the student's classes."
            )
        index = item.get("sample_index")
        if index is not None and not 0 <= int(index) < length:
            raise ValueError(
                f"The `sample_index` of row {row} is {int(index)}; expected 0 to {length - 1}: positions in a data "
                f"set of {length} images (`num_samples`)."
            )
