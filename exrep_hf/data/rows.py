"""Which row of a data set an item is."""

import operator
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, Subset


def parts_of(dataset: Any) -> Iterator[Any]:
    """Yield the data sets below torch's `Subset` and `ConcatDataset`; a data set of another kind is its only part."""
    if isinstance(dataset, Subset):
        yield from parts_of(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from parts_of(part)
    else:
        yield dataset


def is_number(value: Any, number: int) -> bool:
    """Return whether a value is an integer, of whatever type, and this one."""
    try:
        return operator.index(value) == number
    except TypeError:
        return False


def check_index_batch(index: Tensor, num_samples: int) -> None:
    """Make sure that the rows `(batch,)` of a batch on the CPU are rows of the memory bank.

    Raises:
        ValueError: if one is outside 0 ... num_samples - 1.
    """
    low, high = int(index.min()), int(index.max())
    if not 0 <= low <= high < num_samples:
        raise ValueError(
            f"`sample_index` of a batch ranges from {low} to {high}; expected 0 to {num_samples - 1}, as "
            f"`train_dataset` has {num_samples} images and the memory bank a row for each. Number them so, or set "
            "`queue_length`."
        )
