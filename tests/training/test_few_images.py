"""Fewer images than a step takes fill it all the same, each copy with a crop and partners of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from exrep_hf.data import Augmentation
from exrep_hf.training.inputs import number_of

SETTINGS: dict[str, Any] = {
    "ce_weight": 0,
    "crd_weight": 0,
    "adversarial_weight": 0,
    "feature_weight": 0,
    "per_device_train_batch_size": 16,
    "max_steps": 3,
}


def seen(trainer: Any) -> list[dict[str, Any]]:
    batches: list[dict[str, Any]] = []
    trainer.note_images = lambda batch: batches.append({name: value.clone() for name, value in batch.items()})
    trainer.train()
    return batches


def test_every_batch_is_full(make_trainer: Callable[..., Any], make_images: Callable[[int], Any]) -> None:
    """Six images in batches of 16: all steps together have each of them as often as the others."""
    images = make_images(6)
    trainer = make_trainer(**SETTINGS, train_dataset=images, augmentation=Augmentation((0.3, 1.0)))
    assert number_of(trainer.train_dataset) == 6
    batches = seen(trainer)
    assert [len(batch["pixel_values"]) for batch in batches] == [16] * 3
    counts = torch.cat([batch["sample_index"] for batch in batches]).bincount()
    assert counts.tolist() == [8] * 6
    for batch in batches:
        rows = [image.flatten() for image in batch["pixel_values"]]
        assert len(torch.stack(rows).unique(dim=0)) == 16, "copies of an image have the same crop"
        assert torch.equal(batch["labels"], batch["sample_index"] % 4)


def test_accumulated_batches_are_full_too(make_trainer: Callable[..., Any], make_images: Callable[[int], Any]) -> None:
    trainer = make_trainer(
        **SETTINGS | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}, train_dataset=make_images(6)
    )
    assert len(trainer.train_dataset) == 12
    assert [len(batch["pixel_values"]) for batch in seen(trainer)] == [4] * 9


@pytest.mark.parametrize("bank", [False, True])
def test_no_step_is_of_the_images_that_are_left_over(
    bank: bool, make_trainer: Callable[..., Any], make_images: Callable[[int], Any]
) -> None:
    """A step of one image spoils BatchNorm: the last step of an epoch goes on with the next walk."""
    changes = {"per_device_train_batch_size": 4, "max_steps": 12, "crd_weight": 0.8 if bank else 0.0}
    trainer = make_trainer(**SETTINGS | changes, train_dataset=make_images(13), augmentation=Augmentation((0.3, 1.0)))
    assert len(trainer.get_train_dataloader()) == 4
    batches = seen(trainer)
    assert [len(batch["pixel_values"]) for batch in batches] == [4] * 12
    # Three epochs are three walks and the beginning of a fourth, each with crops of its own.
    counts = torch.cat([batch["sample_index"] for batch in batches]).bincount()
    assert counts.tolist() == [4] * 9 + [3] * 4
    assert len(torch.cat([batch["pixel_values"].flatten(1) for batch in batches]).unique(dim=0)) == 48


def test_left_out_on_request(make_trainer: Callable[..., Any], make_images: Callable[[int], Any]) -> None:
    changes = {"per_device_train_batch_size": 4, "max_steps": 6, "dataloader_drop_last": True}
    trainer = make_trainer(**SETTINGS | changes, train_dataset=make_images(13))
    assert len(trainer.get_train_dataloader()) == 3
    assert [len(batch["pixel_values"]) for batch in seen(trainer)] == [4] * 6


def test_views_are_walked_through(make_trainer: Callable[..., Any], make_images: Callable[[int], Any]) -> None:
    """Copies are of the next views, so that stored answers can be had for them."""
    trainer = make_trainer(**SETTINGS | {"views": 3, "mixup": 1.0}, train_dataset=make_images(6), augmentation=None)
    batches = seen(trainer)
    pairs = torch.stack([torch.cat([batch[name] for batch in batches]) for name in ("sample_index", "view")], 1)
    shown, counts = pairs.unique(dim=0, return_counts=True)
    # 48 items are the three views of six images, twice, and two more views of each.
    assert len(shown) == 18 and counts.max() - counts.min() == 1


def test_a_memory_bank_has_each_row_once(make_trainer: Callable[..., Any], make_images: Callable[[int], Any]) -> None:
    """It is written once a step: two copies of an image would overwrite each other."""
    trainer = make_trainer(**SETTINGS | {"crd_weight": 0.8}, train_dataset=make_images(6))
    assert [len(batch["pixel_values"]) for batch in seen(trainer)] == [6] * 3


def test_it_is_told(make_trainer: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(**SETTINGS | {"max_steps": -1})
    trainer.args.max_steps = 1
    trainer.train()
    assert "steps of 16 images, of which there are 12: each comes several times in a step" in capsys.readouterr().out
