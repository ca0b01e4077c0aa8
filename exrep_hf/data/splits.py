"""Stratified parts of a data set."""

from collections import Counter

import numpy as np
from datasets import Dataset

from exrep_hf.data.classes import label_names
from exrep_hf.data.labels import MISSING, is_missing, unlabelled_rows

_NAMED = 5


def split_public_private(
    train: Dataset, private: float | int, seed: int, label_column: str | None, given: str | None = None
) -> tuple[Dataset, Dataset]:
    """Split a training set into what everybody may use and what only the teacher has seen.

    Args:
        train: the training set.
        private: the teacher's own part of the rows: a share in (0, 1), or a number of rows.
        seed: of the random choice.
        label_column: keeps the classes' proportions in both parts, and that of rows without a label; `None`: without
            regard to classes.
        given: the setting that asked for it, with its value, for errors.

    Returns:
        (public, private), rows in their old order.

    Raises:
        ValueError: if the part is out of range or leaves a part too small for the classes.
    """
    option = "num_private" if isinstance(private, int) else "private_fraction"
    return _stratified(train, np.arange(len(train)), private, seed, label_column, given or f"`{option}` is {private}")


def train_val_split(
    dataset: Dataset,
    validation_fraction: float,
    seed: int,
    label_column: str | None,
    given: str | None = None,
) -> tuple[Dataset, Dataset]:
    """Hold out a part of a training set to choose settings on; arguments and errors as in `split_public_private`.

    It is a part of the rows that have a label, where there is a column of labels: what is held out is to be judged on.

    Returns:
        (train, validation), rows in their old order.
    """
    unlabelled: set[int] = set() if label_column is None else set(unlabelled_rows(dataset, label_column))
    labelled = np.asarray([row for row in range(len(dataset)) if row not in unlabelled], dtype=np.int64)
    if not len(labelled):
        raise ValueError(
            f"No row of {len(dataset)} has a label in the column {label_column!r}, and images are to be held out that "
            "are judged by their labels. Label some, or evaluate on a split with labels."
        )
    given = given or f"`validation_fraction` is {validation_fraction}"
    return _stratified(dataset, labelled, validation_fraction, seed, label_column, given)


def _stratified(
    dataset: Dataset, rows: np.ndarray, part: float | int, seed: int, label_column: str | None, given: str
) -> tuple[Dataset, Dataset]:
    """Take a part out of some rows of a data set, and leave the others."""
    limit = len(rows) if isinstance(part, int) else 1
    if not 0 < part < limit:
        raise ValueError(f"{given}; expected a part between 0 and {limit}, both excluded.")
    strata = None
    if label_column is not None:
        stored = dataset.with_format(None)[label_column][:]
        strata = [MISSING if is_missing(stored[row]) else stored[row] for row in rows.tolist()]
    # scikit-learn takes most of a second to import.
    from sklearn.model_selection import train_test_split

    try:
        _, taken = train_test_split(rows, test_size=part, random_state=seed, stratify=strata)
    except ValueError as error:
        raise ValueError(
            f"{given} and cannot split {len(rows)} rows by class "
            f"({_single(dataset, label_column, strata) or error}); give another value, or more images of the "
            "smallest class."
        ) from error
    left = np.setdiff1d(np.arange(len(dataset)), taken)
    return dataset.select(left), dataset.select(np.sort(taken))


def _single(dataset: Dataset, label_column: str | None, strata: list[int] | None) -> str | None:
    """Name the classes that no split can put into both parts; None where there are none."""
    numbers = sorted(number for number, count in Counter(strata or ()).items() if count == 1 and number != MISSING)
    if label_column is None or not numbers:
        return None
    names = label_names(dataset, label_column)
    shown = [repr(names[number] if names else number) for number in numbers[:_NAMED]]
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"both parts need an image of each class, and there is one alone of {', '.join(shown)}{more}"
