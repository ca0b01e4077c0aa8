"""Views that come out the same wherever they are made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from exrep_hf.data import Augmentation, Mixing, ViewPolicy, collate_distillation
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset

ROWS = 7


class Noisy(Dataset):
    """Images whose pixels are their row, with noise from the global generator."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.full((1, 8, 8), float(index)) + 0.1 * torch.rand(1, 8, 8)
        return {
            "pixel_values": image,
            "teacher_pixel_values": image[:, ::2, ::2],
            "label": index % 3,
            "sample_index": index,
        }


UNMIXED = Mixing()


def replayed(
    views: int, mixing: Mixing = UNMIXED, seed: int = 5, num_labels: int | None = None, rule: int = 2
) -> ReplayedDataset:
    return ReplayedDataset(Noisy(), ViewPolicy(views, seed, None, mixing, rule=rule), num_labels)


def pixels(dataset: ReplayedDataset, epoch: int, rows: list[int]) -> list[torch.Tensor]:
    dataset.set_epoch(epoch)
    return [item["pixel_values"] for item in dataset.__getitems__(rows)]


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(mixup=1.0, cutmix=1.0)])
def test_an_item_depends_on_row_and_view_alone(mixing: Mixing) -> None:
    """A student must see what its teacher was queried on, in any order and batch, in any later epoch."""
    rows = list(range(ROWS))
    first = replayed(2, mixing)
    expected = {view: pixels(first, view, rows) for view in (0, 1)}
    other = replayed(2, mixing)
    torch.manual_seed(77)
    for epoch in (3, 0, 1, 4):
        shuffled = torch.randperm(ROWS).tolist()
        for row, image in zip(shuffled, pixels(other, epoch, shuffled), strict=True):
            assert torch.equal(image, expected[epoch % 2][row])
        assert [item["view"] for item in other.__getitems__([0, 3])] == [epoch % 2] * 2
    assert not any(torch.equal(*pair) for pair in zip(expected[0], expected[1], strict=True))
    assert not torch.equal(pixels(replayed(2, mixing, seed=6), 0, [2])[0], expected[0][2])


def test_views_are_the_epochs_that_a_run_without_views_begins_with() -> None:
    """Where nothing is mixed, `views` changes what comes again, and nothing else."""
    dataset, plain = replayed(2), SeededDataset(Noisy(), seed=5)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        assert torch.equal(pixels(dataset, epoch, [4])[0], plain[4]["pixel_values"])


def test_mixtures_against_a_plain_loop() -> None:
    """The first rule: each image draws partner, share and box once for its view; images are those of that view."""
    mixing = Mixing(mixup=1.0)
    dataset = replayed(3, mixing, num_labels=3, rule=1)
    dataset.set_epoch(1)
    single = replayed(3)
    single.set_epoch(1)
    partners = set()
    for row in range(ROWS):
        item = dataset[row]
        seed = int(np.random.SeedSequence([5, 1, row, 1]).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            partner = int(torch.randint(ROWS, ()))
            share = torch.distributions.Beta(1.0, 1.0).sample((1,)).item()
        own, other = single[row], single[partner]
        for name in ("pixel_values", "teacher_pixel_values"):
            torch.testing.assert_close(item[name], share * own[name] + (1 - share) * other[name])
        labels = torch.zeros(3)
        labels[row % 3] += share
        labels[partner % 3] += 1 - share
        torch.testing.assert_close(item["labels"], labels)
        assert item["sample_index"] == row and "label" not in item
        partners.add(partner)
    assert len(partners) > 2


def test_mixtures_of_mixtures_against_a_plain_loop() -> None:
    """By the first rule too an image is mixed of its own mixture and that of its second partner, so of four."""
    mixing, twice = Mixing(mixup=1.0), Mixing(mixup=1.0, rounds=2)
    dataset, once = replayed(3, twice, num_labels=3, rule=1), replayed(3, mixing, num_labels=3, rule=1)
    dataset.set_epoch(2)
    once.set_epoch(2)
    partners = set()
    for row in range(ROWS):
        seed = int(np.random.SeedSequence([5, 2, row, 1, 2]).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            partner = int(torch.randint(ROWS, ()))
            share = torch.distributions.Beta(1.0, 1.0).sample((1,)).item()
        item, own, other = dataset[row], once[row], once[partner]
        for name in ("pixel_values", "teacher_pixel_values", "labels"):
            torch.testing.assert_close(item[name], share * own[name] + (1 - share) * other[name])
        assert item["sample_index"] == row
        partners.add(partner)
    assert len(partners) > 2


def test_each_image_of_a_batch_is_made_once() -> None:
    """Four images an item would be decoded for each, and most of them are in other items of the batch too."""
    made: list[int] = []

    class Counted(Noisy):
        def __getitem__(self, index: int) -> dict[str, Any]:
            made.append(index)
            return super().__getitem__(index)

    policy = ViewPolicy(1, 5, None, Mixing(mixup=1.0, cutmix=1.0, rounds=3))
    ReplayedDataset(Counted(), policy).__getitems__(list(range(ROWS)))
    assert sorted(made) == list(range(ROWS))


@pytest.mark.parametrize("views", [None, 3])
def test_an_epoch_longer_than_the_rows(views: int | None) -> None:
    """It is the rows again and again: every item is one of an epoch of its own, in the order of their numbers."""
    mixing = Mixing(mixup=1.0) if views else UNMIXED
    dataset, plain = (replayed(views, mixing) if views else SeededDataset(Noisy(), seed=5) for _ in range(2))
    dataset.length = 2 * ROWS + 3
    assert len(dataset) == 2 * ROWS + 3
    for epoch in (0, 1, 4):
        dataset.set_epoch(epoch)
        for index, item in enumerate(dataset.__getitems__(list(range(len(dataset))))):
            walk, row = divmod(epoch * len(dataset) + index, ROWS)
            plain.set_epoch(walk)
            expected = plain[row]
            assert item["sample_index"] == row == expected["sample_index"]
            assert torch.equal(item["pixel_values"], expected["pixel_values"])
            assert item.get("view") == expected.get("view") == (None if views is None else walk % views)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_labels_of_mixtures_may_be_left_out() -> None:
    """Distillation without labels must not ask for classes that there are not."""
    item = replayed(1, Mixing(cutmix=1.0))[3]
    assert item.keys() == {"pixel_values", "teacher_pixel_values", "sample_index", "view"}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches(workers: int) -> None:
    """Shares of classes stay shares on their way through the collator, in worker processes too."""
    dataset = replayed(2, Mixing(mixup=1.0), num_labels=3)
    dataset.set_epoch(1)
    loader = DataLoader(dataset, batch_size=ROWS, collate_fn=collate_distillation, num_workers=workers)
    [batch] = list(loader)
    assert batch["labels"].dtype == torch.float32 and batch["labels"].shape == (ROWS, 3)
    torch.testing.assert_close(batch["labels"].sum(1), torch.ones(ROWS))
    assert batch["view"].tolist() == [1] * ROWS and batch["view"].dtype == torch.int64
    assert torch.equal(batch["pixel_values"][2], dataset[2]["pixel_values"])


def test_generators_of_the_caller_stay() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    replayed(2, Mixing(mixup=1.0, cutmix=1.0)).__getitems__([0, 1])
    assert torch.equal(torch.rand(3), expected)


def test_policy_survives_json(tmp_path: Path) -> None:
    policy = ViewPolicy(4, 9, Augmentation((0.2, 1.0), (0.5, 2.0), 0.3, "rand-m5-n2"), Mixing(0.4, 1.0))
    assert ViewPolicy.from_dict(json.loads(json.dumps(policy.as_dict()))) == policy
    assert ViewPolicy.from_dict(json.loads(json.dumps(ViewPolicy().as_dict()))) == ViewPolicy()
    twice = ViewPolicy(2, 9, None, Mixing(0.4, 1.0, 2))
    assert ViewPolicy.from_dict(json.loads(json.dumps(twice.as_dict()))) == twice
    # Answers that were stored by releases without rounds are for the same views.
    assert policy.as_dict()["mixing"] == {"mixup": 0.4, "cutmix": 1.0}


def test_views_of_older_releases_keep_their_rule() -> None:
    """Their mixtures have to be made as the stored answers saw them; views that are not mixed have one form."""
    mixed, plain = ViewPolicy(2, 9, None, Mixing(0.4, 1.0)), ViewPolicy(2, 9)
    assert mixed.as_dict()["rule"] == 2 and "rule" not in plain.as_dict()
    older = {name: value for name, value in mixed.as_dict().items() if name != "rule"}
    read = ViewPolicy.from_dict(json.loads(json.dumps(older)))
    assert read.rule == 1 and read != mixed and read.as_dict() == older
    assert not read.mixes_pixels and mixed.mixes_pixels and plain.mixes_pixels
    assert replayed(2, Mixing(mixup=1.0), rule=1).grouped is None
    with pytest.raises(ValueError, match="`rule` is 3; expected 1 to 2, by which views can be made again"):
        ViewPolicy.from_dict(older | {"rule": 3})


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_group_is_mixed_as_a_batch_is(rounds: int) -> None:
    """The second rule: seven images are one group, and mixed as `Mixing` does under the group's seed."""
    mixing = Mixing(mixup=1.0, cutmix=1.0, rounds=rounds)
    dataset, single = replayed(3, mixing, num_labels=3), replayed(3)
    for each in (dataset, single):
        each.set_epoch(2)
    assert dataset.grouped is not None
    order = dataset.grouped._order(2)[0].tolist()
    batch = collate_distillation([single[row] for row in order])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([5, 2, 0, 1, 4]).generate_state(1)[0]))
        expected = mixing(batch, 3)
    found = collate_distillation(dataset.__getitems__(order))
    for name in ("pixel_values", "teacher_pixel_values", "labels", "sample_index"):
        assert torch.equal(found[name], expected[name])
    # One by one they are the same.
    assert all(torch.equal(dataset[row]["pixel_values"], found["pixel_values"][at]) for at, row in enumerate(order))


def test_pixels_are_mixed_to_pixels() -> None:
    """Eight bits are all that an image has: mixtures are rounded, and nothing else."""

    class Pixels(Noisy):
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            return item | {name: (25 * item[name]).byte() for name in ("pixel_values", "teacher_pixel_values")}

    class Values(Pixels):
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            return item | {name: item[name].float() for name in ("pixel_values", "teacher_pixel_values")}

    policy = ViewPolicy(2, 5, None, Mixing(mixup=1.0, cutmix=1.0))
    rows = list(range(ROWS))
    whole, exact = (ReplayedDataset(kind(), policy).__getitems__(rows) for kind in (Pixels, Values))
    for pixels, values in zip(whole, exact, strict=True):
        for name in ("pixel_values", "teacher_pixel_values"):
            assert pixels[name].dtype == torch.uint8
            assert torch.equal(pixels[name].float(), values[name].round())
    assert any((each["pixel_values"] % 1 > 0).any() for each in exact)


def test_no_views_are_refused() -> None:
    with pytest.raises(ValueError, match="`views` is 0; expected at least 1"):
        ViewPolicy(views=0)
