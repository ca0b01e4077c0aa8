"""Random items that are the same in every run."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from exrep_hf.data.datasets import EpochCallback, SeededDataset


class Noise(Dataset):
    """Items from all three generators."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        if index >= 6:
            raise IndexError(index)
        return torch.rand(()).item(), random.random(), float(np.random.rand())


def test_items_depend_on_seed_epoch_and_row_alone() -> None:
    """Order, repetition, and what else draws numbers must not matter."""
    first = SeededDataset(Noise(), seed=3)
    expected = [first[row] for row in range(6)]
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    second = SeededDataset(Noise(), seed=3)
    assert [second[row] for row in (5, 0, 5, 2)] == [expected[row] for row in (5, 0, 5, 2)]
    second.set_epoch(1)
    other_epoch = [second[row] for row in range(6)]
    other_seed = [SeededDataset(Noise(), seed=4)[row] for row in range(6)]
    numbers = {number for part in (expected, other_epoch, other_seed) for item in part for number in item}
    assert len(numbers) == 3 * 6 * 3
    second.set_epoch(0)
    assert second[4] == expected[4]


def test_generators_of_the_caller_stay() -> None:
    """CRD draws its negatives from the global generator: the loader must not move it, even by an error."""
    dataset = SeededDataset(Noise(), seed=3)

    def draw() -> tuple[float, float, float, int]:
        return torch.rand(()).item(), random.random(), float(np.random.rand()), torch.initial_seed()

    def seed() -> None:
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)

    seed()
    expected = draw()
    seed()
    dataset[2]
    with pytest.raises(IndexError):
        dataset[6]
    assert draw() == expected


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_make_the_same_items(persistent: bool) -> None:
    """Workers have seeds of their own, and those that outlive an epoch hold a copy of the data set."""
    dataset = SeededDataset(Noise(), seed=3)
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=persistent, multiprocessing_context="fork"
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        expected = [dataset[row] for row in range(6)]
        assert [tuple(item) for item in loader] == expected


@pytest.mark.parametrize(("epoch", "expected"), [(None, 0), (0, 0), (1.0, 1), (1.75, 1), (3.0, 3)])
def test_epoch_of_the_trainer(epoch: float | None, expected: int) -> None:
    """A run resumed within an epoch must see that epoch's views."""
    dataset = SeededDataset(Noise(), seed=3)
    dataset.set_epoch(7)
    EpochCallback(dataset).on_epoch_begin(None, SimpleNamespace(epoch=epoch), None)  # type: ignore[arg-type]
    reference = SeededDataset(Noise(), seed=3)
    reference.set_epoch(expected)
    assert dataset[1] == reference[1] and len(dataset) == 6
