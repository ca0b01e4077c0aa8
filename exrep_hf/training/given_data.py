"""What people pass as a data set and is none, or can't be trained or evaluated on: refused before anything is made."""

import os
from typing import Any

import datasets

from exrep_hf.data.stream import is_image_stream


def check_given(dataset: Any, name: str) -> None:
    """Make sure that a data set is one, and that streamed rows hold tensors.

    Args:
        dataset: what was passed.
        name: the argument that it was passed as.

    Raises:
        ValueError: for a path or name, several splits, or a stream of images to evaluate on, or of what isn't known.
    """
    if isinstance(dataset, str | os.PathLike):
        raise ValueError(
            f"`{name}` is {str(dataset)!r}, a name or path; expected a data set. Load it first: "
            f"`exrep_hf.data.load_images({str(dataset)!r})`, and pass one of its splits."
        )
    if isinstance(dataset, dict):
        raise ValueError(
            f"`{name}` is a {type(dataset).__name__} of {sorted(map(str, dataset))}; expected one data set. Pass one "
            f"of them, as in `{name}=splits[{next(iter(dataset), 'train')!r}]`."
        )
    if isinstance(dataset, datasets.IterableDataset) and not (name == "train_dataset" and is_image_stream(dataset)):
        _check_stream(dataset, name)


def _check_stream(dataset: datasets.IterableDataset, name: str) -> None:
    columns = dataset.column_names
    if columns is None:
        # A stream of the Hub's is read from its start each time.
        columns = sorted(next(iter(dataset.take(1)), {}))
    if not columns:
        raise ValueError(f"`{name}` is a stream without rows; expected at least one image.")
    if "pixel_values" not in columns:
        raise ValueError(
            f"`{name}` is a stream with the columns {sorted(columns)}{_kinds(dataset)}; expected "
            + (
                "a column of images. Declare it: `stream.map(…, features=…)`, `stream.cast_column('image', "
                "datasets.Image())`."
                if name == "train_dataset"
                else "`pixel_values`, as an evaluation counts rows, and streamed images get no transform. Make them "
                "with `map`, or pass a data set that is not streamed."
            )
        )


def _kinds(dataset: datasets.IterableDataset) -> str:
    return ", of which it is not known what they hold" if dataset.features is None else ""
