"""A short name for the content of a data set, the same in every run."""

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from exrep_hf.data.checks import is_map_style
from exrep_hf.data.datasets import DistillationDataset, SeededDataset

# Enough to tell data sets apart; an image costs milliseconds.
_IMAGES = 64


def fingerprint(dataset: Any) -> str | None:
    """Hash of length, classes, and a sample of the images of a training data set.

    Images of an HF data set count as they are stored, before any transform; those of other data sets as their items
    are. Items that are not the same twice count by their number alone.

    Args:
        dataset: what the Trainer walks through.

    Returns:
        16 hexadecimal digits; None where a data set has no length.
    """
    if not is_map_style(dataset):
        return None
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    count = len(inner)
    digest = hashlib.sha256(str(count).encode())
    # Seeds of the items follow the epoch, and a run is resumed in any of them.
    steady = SeededDataset(inner, dataset.seed if isinstance(dataset, SeededDataset) else 0)
    # As they are stored: answers are for the images of any model, however it numbers its classes.
    labels = getattr(inner, "stored_labels" if isinstance(inner, DistillationDataset) else "labels", None)
    if labels is not None:
        digest.update(repr(labels.tolist() if isinstance(labels, Tensor) else list(labels)).encode())
    for row in np.linspace(0, count - 1, min(_IMAGES, count)).astype(int).tolist():
        if isinstance(inner, DistillationDataset):
            content = inner.rows[row]
            for column in (inner.image_column, *inner.answer_columns):
                digest.update(np.asarray(content[column]).tobytes())
        else:
            first, second = _item(steady, row), _item(steady, row)
            digest.update(first if first == second else b"")
    return digest.hexdigest()[:16]


def check_repeatable(dataset: SeededDataset) -> None:
    """Make sure that items come out the same when they are made again, and know their rows.

    Raises:
        ValueError: if one does not: its randomness then has a source of its own, or it is numbered otherwise.
    """
    for row in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        if _item(dataset, row) != _item(dataset, row):
            raise ValueError(
                f"Row {row} of the data set differs when it is made again, so that stored answers would be for other "
                "pixels. Draw from the global generators of torch, NumPy or `random`, which are seeded for "
                "each item, and not from one of the data set's own."
            )
        index = dataset[row].get("sample_index", row)
        if int(index) != row:
            raise ValueError(
                f"Row {row} of the data set has the `sample_index` {int(index)}; answers are stored by row. Pass the "
                "data set that is trained on, not a part or another order of it."
            )


def _item(dataset: Any, row: int) -> bytes:
    item = dataset[row]
    tensors = {name: value for name, value in sorted(item.items()) if isinstance(value, Tensor)}
    return b"".join(name.encode() + value.cpu().double().numpy().tobytes() for name, value in tensors.items())
