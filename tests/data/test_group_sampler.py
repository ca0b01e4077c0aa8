"""Groups that are mixed with each other are drawn together."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from exrep_hf.data import Mixing, ViewPolicy
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.extra_images import Extra
from exrep_hf.data.group_sampler import GroupSampler, group_sampler
from exrep_hf.data.partners import GROUP


class Counted(Dataset):
    """Tells which images were made."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.made.append(index)
        return {"pixel_values": torch.full((1, 4, 4), index % 256, dtype=torch.uint8), "label": 0}


def views(count: int, rounds: int = 2, number: int = 3, **options: Any) -> ReplayedDataset:
    mixing = Mixing(mixup=1.0, cutmix=1.0, rounds=rounds)
    return ReplayedDataset(Counted(count), ViewPolicy(number, 7, None, mixing, rule=options.pop("rule", 2)), **options)


def sampler(dataset: ReplayedDataset, seed: int = 1) -> GroupSampler:
    made = group_sampler(dataset, seed)
    assert made is not None
    return made


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [GROUP, 4 * GROUP])
def test_each_image_of_an_epoch_is_decoded_once(rounds: int, batch_size: int) -> None:
    """Eight images in each mixture would be eight images to decode for one."""
    dataset = views(200, rounds)
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        dataset.dataset.made.clear()
        loader = DataLoader(dataset, batch_size, sampler=sampler(dataset), collate_fn=list)
        assert sum(len(batch) for batch in loader) == 200
        # The last group is no whole one, and may be cut.
        assert 200 <= len(dataset.dataset.made) < 200 + 2 * GROUP
        assert set(dataset.dataset.made) == set(range(200))
    dataset.dataset.made.clear()
    list(DataLoader(dataset, batch_size, shuffle=True, collate_fn=list))
    assert len(dataset.dataset.made) > 1.2 * 200


@pytest.mark.parametrize("count", [1, 5, GROUP, 2 * GROUP + 7, 150])
def test_order(count: int) -> None:
    """All positions once; another order in each epoch and under each seed, the same on each process."""
    dataset = views(count)
    orders = []
    for epoch, seed in ((0, 1), (1, 1), (0, 2)):
        dataset.set_epoch(epoch)
        orders.append(list(sampler(dataset, seed)))
        assert sorted(orders[-1]) == list(range(count)) and len(sampler(dataset)) == count
        assert list(sampler(dataset, seed)) == orders[-1]
    if count > 4:
        assert len({tuple(order) for order in [*orders, range(count)]}) == 4


def test_groups() -> None:
    """Every image is in one group of its view, with other images in the next, and mixed within it alone."""
    dataset = views(100)
    partners = dataset.grouped
    assert partners is not None and partners.groups == 100 // GROUP
    rows = torch.arange(100)
    groups = [partners.group_of(rows, view) for view in range(2)]
    assert groups[0].bincount().tolist() == [GROUP] * 5 + [100 - 5 * GROUP] and not torch.equal(*groups)
    drawn: set[int] = set()
    for row in range(100):
        for mixing_round in (1, 2):
            (partner, view), share, box = partners.draw((row, 1), mixing_round)
            assert view == 1 and groups[1][partner] == groups[1][row]
            assert share.shape == (1,) and box.shape == (1, 4)
        drawn.add(partner)
    # A permutation within each group.
    assert drawn == set(range(100))


def test_an_epoch_of_more_than_the_images() -> None:
    """They come again in other views, each walk in groups of its own."""
    dataset = views(40)
    dataset.length = 100
    dataset.set_epoch(1)
    order = list(sampler(dataset))
    assert sorted(order) == list(range(100))
    first = [dataset.places([index])[0] for index in order[: 2 * GROUP]]
    assert dataset.grouped is not None
    for part in (first[:GROUP], first[GROUP:]):
        assert (
            len({(number, int(dataset.grouped.group_of(torch.tensor(row), number % 3))) for row, number in part}) == 1
        )


def test_for_others_the_order_is_the_trainers() -> None:
    assert group_sampler(views(50, rule=1), 0) is None
    assert group_sampler(views(50, extra=Extra(20, 0.25)), 0) is None
    assert group_sampler(SeededDataset(Counted(50), 0), 0) is None
    assert group_sampler(ReplayedDataset(Counted(50), ViewPolicy(2)), 0) is None
