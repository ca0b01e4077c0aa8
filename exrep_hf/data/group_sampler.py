"""The order of images in an epoch of views that are mixed in groups."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.partners import GROUP, GroupPartners
from exrep_hf.data.seeding import seed_of

# Sets these draws apart from all others of a seed.
_ORDER = 5


def group_sampler(dataset: object, seed: int) -> "GroupSampler | None":
    """Return the order of a data set whose images are mixed in groups; None of another."""
    if not isinstance(dataset, ReplayedDataset) or dataset.grouped is None:
        return None
    return GroupSampler(dataset, dataset.grouped, seed)


class GroupSampler(Sampler[int]):
    """Draws whole groups in a random order: batches of a multiple of `GROUP` decode each of their images once.

    The order follows from seed and epoch alone, and is the same on all processes. Images that make up no whole group
    come last.

    Args:
        dataset: the views, which knows the epoch.
        partners: its groups.
        seed: of the order, ≥ 0.
    """

    def __init__(self, dataset: ReplayedDataset, partners: GroupPartners, seed: int) -> None:
        self.dataset = dataset
        self.partners = partners
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        """Walk through all positions of the epoch."""
        partners, views = self.partners, self.dataset.policy.views
        count = partners.count
        # Of few images a row comes several times, in views of its own.
        at = torch.arange(len(self)) + self.dataset.epoch * len(self)
        rows, numbers = at % count, at // count
        first = int(numbers[0])
        groups = torch.empty_like(rows)
        for number in range(first, int(numbers[-1]) + 1):
            here = numbers == number
            groups[here] = partners.group_of(rows[here], number % views) + (number - first) * partners.groups
        sizes = groups.bincount()
        generator = torch.Generator().manual_seed(seed_of([self.seed, self.dataset.epoch, _ORDER]))
        rank = torch.rand(len(sizes), generator=generator) + (sizes != GROUP)
        # Those of a group in a random order too: smaller batches are parts of one.
        shuffled = torch.randperm(len(self), generator=generator)
        yield from shuffled[rank[groups][shuffled].argsort(stable=True)].tolist()
