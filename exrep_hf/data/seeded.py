"""Items whose randomness depends on seed, epoch and row alone."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from exrep_hf.data.datasets import DistillationDataset


class SeededDataset(Dataset):
    """A map-style data set whose random transforms come out the same however the items are fetched.

    Loaders fetch ahead, restart their workers on resuming, and share rows between processes. With one global
    generator, a resumed run would therefore see other crops than an uninterrupted one. Here each item is made under
    seeds of its own for torch, NumPy and `random`, and the generators of the caller stay untouched.

    Args:
        dataset: anything with `__getitem__` and `__len__`.
        seed: of the run, ≥ 0.

    Attributes:
        dataset: the data set itself.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        # In shared memory, because workers that outlive an epoch hold a copy of this object.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Vary the items with the epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Returns the item of a row, made under its own seed."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Returns several items, each made under its own seed."""
        return self.items_of(indices, int(self._epoch))

    def items_of(self, indices: Sequence[int], number: int) -> list[Any]:
        """Returns several items, each made under the seed of this row and number (of an epoch or a view)."""
        # Lazy: an item's randomness happens when it is asked for, under the seed set just before.
        if isinstance(self.dataset, DistillationDataset):
            items = self.dataset.iterate(indices)
        else:
            items = (self.dataset[index] for index in indices)
        made = []
        with generators_kept():
            for index in indices:
                seed_generators([self.seed, number, index])
                made.append(next(items))
        return made


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the CPU's generators of torch, NumPy and `random` as they were."""
    # torch's CPU generator alone: `torch.manual_seed` would also reset those of accelerators.
    generator = torch.default_generator
    before = random.getstate(), np.random.get_state(), generator.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])


def seed_generators(entropy: Sequence[int]) -> None:
    """Seed the CPU's generators of torch, NumPy and `random` from some numbers ≥ 0."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


class EpochCallback(TrainerCallback):
    """Tells a `SeededDataset` which epoch begins; accelerate's loaders do so in runs of one process only.

    Args:
        dataset: the training data set.
    """

    def __init__(self, dataset: SeededDataset) -> None:
        self.dataset = dataset

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass on the number of the epoch, which is fractional where a run is resumed within one."""
        self.dataset.set_epoch(int(state.epoch or 0))
