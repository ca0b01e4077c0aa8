"""A walk through unmixed views of training images, shared between processes, about which somebody is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from exrep_hf.data.datasets import SeededDataset
from exrep_hf.data.partners import Place

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class AskedViews:
    """Views of rows, in an order that is the same on all processes; each process makes and asks about its part.

    Attributes:
        dataset: makes the items; None: batches hold numbers and labels alone, by which stored answers are found.
        places: row and number of each view.
        labels: of each view `(views,)`; None: their items hold them, and -1 stands for those that don't.
        collate: makes a batch of items.
        batch_size: images at a time.
        num_workers: processes that make items, for each process.
        device: where batches go.
    """

    dataset: SeededDataset | None
    places: Sequence[Place]
    labels: Tensor | None
    collate: Callable[[list[dict[str, Any]]], Batch]
    batch_size: int
    num_workers: int
    device: torch.device

    def batches(self) -> Iterator[Batch]:
        """Yield this process's batches, with labels; no generator of the caller moves."""
        if self.dataset is None:
            yield from self._numbers()
            return
        loader = DataLoader(
            _Items(self.dataset, [self.places[index] for index in self._mine]),
            batch_size=self.batch_size,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            # Its own: the loader would draw from the global one.
            generator=torch.Generator(),
        )
        for batch, part in zip(loader, self._parts(), strict=True):
            yield self._with_labels(batch, part)

    def _numbers(self) -> Iterator[Batch]:
        for part in self._parts():
            rows, views = torch.tensor([self.places[index] for index in part]).unbind(1)
            yield self._with_labels({"sample_index": rows, "view": views}, part)

    def answers(self, answer: Callable[[Batch], Tensor]) -> tuple[Tensor, Tensor]:
        """Return what is answered to all views of all processes, and their labels; call it on all of them.

        Args:
            answer: returns a tensor `(batch, …)`.

        Returns:
            Answers `(views, …)` on the device, and labels `(views,)` on the CPU.
        """
        answers, labels = [], []
        for batch in self.batches():
            answers.append(answer(batch))
            labels.append(batch["labels"])
        found, numbers = (gather(torch.cat(part))[: len(self.places)] for part in (answers, labels))
        return found, numbers.cpu()

    @property
    def _mine(self) -> list[int]:
        """Places of this process; parts are of one length, and what is too much lies at the end."""
        state = PartialState()
        count = -(-len(self.places) // state.num_processes)
        first = state.process_index * count
        return [min(index, len(self.places) - 1) for index in range(first, first + count)]

    def _parts(self) -> list[list[int]]:
        mine = self._mine
        return [mine[start : start + self.batch_size] for start in range(0, len(mine), self.batch_size)]

    def _with_labels(self, batch: Batch, part: list[int]) -> Batch:
        labels = batch.get("labels", torch.full((len(part),), -1)) if self.labels is None else self.labels[part]
        return {name: value.to(self.device) for name, value in (batch | {"labels": labels}).items()}


class _Items(Dataset):
    """Views by their place in a list, each with its number as `view`."""

    def __init__(self, dataset: SeededDataset, places: Sequence[Place]) -> None:
        self._dataset = dataset
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        places = [self._places[index] for index in indices]
        items = self._dataset.items_of(places)
        return [{**item, "view": number} for item, (_, number) in zip(items, places, strict=True)]
