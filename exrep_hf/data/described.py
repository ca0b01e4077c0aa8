"""What is known about a data set, in words."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import datasets

from exrep_hf.data.datasets import DistillationDataset, SeededDataset
from exrep_hf.data.stream import StreamedImages


@dataclass(frozen=True)
class Described:
    """A data set as a card speaks of it.

    Attributes:
        name: as it was loaded by; None where that is not known.
        split: of it; None where that is not known.
        num_images: None where that is not known.
    """

    name: str | None
    split: str | None
    num_images: int | None


def described(dataset: Any) -> Described:
    """Describe a data set as people pass it, or as the Trainer walks through it."""
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    inner = inner.rows if isinstance(inner, DistillationDataset | StreamedImages) else inner
    # An epoch may be longer than there are images.
    count = len(inner) if isinstance(inner, Sized) else None
    if not isinstance(inner, datasets.Dataset | datasets.IterableDataset):
        return Described(None, None, count)
    info, split = inner.info, inner.split
    # A loader of any files at all ("imagefolder") is no data set's name.
    name = None if info.dataset_name == info.builder_name else info.dataset_name
    return Described(name, None if split is None else str(split), count)
