"""Stratified parts of a data set."""

import numpy as np
from datasets import Dataset
from sklearn.model_selection import train_test_split


def split_public_private(
    train: Dataset, private_fraction: float, seed: int, label_column: str | None
) -> tuple[Dataset, Dataset]:
    """Splits a training set into what everybody may use and what only the teacher has seen.

    Args:
        train: the training set.
        private_fraction: the teacher's own part of the rows, in (0, 1).
        seed: of the random choice.
        label_column: keeps the classes' proportions in both parts; `None`: without regard to classes.

    Returns:
        (public, private), rows in their old order.

    Raises:
        ValueError: if the fraction is out of range or leaves a part too small for the classes.
    """
    return _stratified(train, private_fraction, seed, label_column, "private_fraction")


def train_val_split(
    dataset: Dataset, validation_fraction: float, seed: int, label_column: str | None
) -> tuple[Dataset, Dataset]:
    """Holds out a part of a training set to choose settings on; arguments and errors as in `split_public_private`.

    Returns:
        (train, validation), rows in their old order.
    """
    return _stratified(dataset, validation_fraction, seed, label_column, "validation_fraction")


def _stratified(
    dataset: Dataset, fraction: float, seed: int, label_column: str | None, option: str
) -> tuple[Dataset, Dataset]:
    if not 0 < fraction < 1:
        raise ValueError(f"{option} is {fraction}, expected a part between 0 and 1, both excluded.")
    labels = None if label_column is None else np.asarray(dataset[label_column][:])
    try:
        kept, held_out = train_test_split(
            np.arange(len(dataset)), test_size=fraction, random_state=seed, stratify=labels
        )
    except ValueError as error:
        raise ValueError(
            f"{option}={fraction} cannot split {len(dataset)} rows by class ({error}); use another fraction, or more "
            "images in the smallest class."
        ) from error
    return dataset.select(np.sort(kept)), dataset.select(np.sort(held_out))
