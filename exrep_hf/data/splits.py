"""Stratified parts of a data set."""

import numpy as np
from datasets import Dataset
from sklearn.model_selection import train_test_split


def split_public_private(
    train: Dataset, private: float | int, seed: int, label_column: str | None
) -> tuple[Dataset, Dataset]:
    """Split a training set into what everybody may use and what only the teacher has seen.

    Args:
        train: the training set.
        private: the teacher's own part of the rows: a share in (0, 1), or a number of rows.
        seed: of the random choice.
        label_column: keeps the classes' proportions in both parts; `None`: without regard to classes.

    Returns:
        (public, private), rows in their old order.

    Raises:
        ValueError: if the part is out of range or leaves a part too small for the classes.
    """
    option = "num_private" if isinstance(private, int) else "private_fraction"
    return _stratified(train, private, seed, label_column, option)


def train_val_split(
    dataset: Dataset, validation_fraction: float, seed: int, label_column: str | None
) -> tuple[Dataset, Dataset]:
    """Hold out a part of a training set to choose settings on; arguments and errors as in `split_public_private`.

    Returns:
        (train, validation), rows in their old order.
    """
    return _stratified(dataset, validation_fraction, seed, label_column, "validation_fraction")


def _stratified(
    dataset: Dataset, part: float | int, seed: int, label_column: str | None, option: str
) -> tuple[Dataset, Dataset]:
    limit = len(dataset) if isinstance(part, int) else 1
    if not 0 < part < limit:
        raise ValueError(f"`{option}` is {part}; expected a part between 0 and {limit}, both excluded.")
    labels = None if label_column is None else np.asarray(dataset[label_column][:])
    try:
        kept, held_out = train_test_split(np.arange(len(dataset)), test_size=part, random_state=seed, stratify=labels)
    except ValueError as error:
        raise ValueError(
            f"`{option}` is {part} and cannot split {len(dataset)} rows by class ({error}); use another fraction, or "
            "more images in the smallest class."
        ) from error
    return dataset.select(np.sort(kept)), dataset.select(np.sort(held_out))
