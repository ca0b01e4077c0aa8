"""Data sets are told apart, and one is the same in every run."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from exrep_hf.data import Augmentation, DistillationDataset, Preprocessing, ViewTransform
from exrep_hf.data.datasets import SeededDataset
from exrep_hf.data.fingerprint import fingerprint

PREPROCESSING = Preprocessing(8, 8, None, "bilinear", (0.5,) * 3, (0.5,) * 3)


def _images(count: int = 20, seed: int = 0, augmentation: Augmentation | None = None, shift: int = 0) -> SeededDataset:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    rows = {"image": [Image.fromarray(each) for each in pixels], "label": [(row + shift) % 3 for row in range(count)]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=3))
    dataset = datasets.Dataset.from_dict(rows, features=features)
    transform = ViewTransform(PREPROCESSING, (), augmentation)
    return SeededDataset(DistillationDataset(dataset, transform, "image", "label"), 0)


class Rows(Dataset):
    def __init__(self, seed: int = 0, steady: bool = True) -> None:
        self.images = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        self.steady = steady
        self.reads = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads += 1
        return {"pixel_values": self.images[index] + (0 if self.steady else self.reads), "labels": index}


def test_same_images_have_the_same_name() -> None:
    """However they are varied: the bank's rows belong to images, not to crops."""
    name = fingerprint(_images())
    assert name is not None and len(name) == 16
    assert name == fingerprint(_images()) == fingerprint(_images(augmentation=Augmentation(scale=(0.2, 1.0))))


def test_other_images_have_another_name() -> None:
    names = {fingerprint(data) for data in (_images(), _images(19), _images(seed=1), Rows(), Rows(1))}
    assert len(names) == 5


def test_other_classes_have_another_name() -> None:
    """The same images with other labels: negatives of the resumed run would be images of the same class."""
    assert fingerprint(_images(shift=1)) != fingerprint(_images())
    labelled = Rows()
    labelled.labels = torch.tensor([0, 1, 0, 1, 0])  # type: ignore[attr-defined]
    other = Rows()
    other.labels = torch.tensor([0, 1, 0, 1, 1])  # type: ignore[attr-defined]
    assert len({fingerprint(labelled), fingerprint(other), fingerprint(Rows())}) == 3


def test_another_length_has_another_name() -> None:
    """A sample of 64 images is the same where a data set of one image, repeated, becomes longer."""
    pictures = [Rows(), Rows()]
    for rows, count in zip(pictures, (100, 101), strict=True):
        rows.images = torch.ones(count, 3)
    assert fingerprint(pictures[0]) != fingerprint(pictures[1])


@pytest.mark.parametrize("steady", [True, False])
def test_rows_of_tensors(steady: bool) -> None:
    """Items that differ at each reading count by their number, or no run of theirs could be resumed."""
    assert fingerprint(SeededDataset(Rows(0, steady), 0)) == fingerprint(SeededDataset(Rows(0, steady), 0))
    assert (fingerprint(Rows(0, steady)) == fingerprint(Rows(1, steady))) is not steady


def test_endless_data_have_none() -> None:
    class Endless(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            while True:
                yield {}

    assert fingerprint(Endless()) is None
