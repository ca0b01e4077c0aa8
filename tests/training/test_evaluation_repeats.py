"""Evaluation leaves no trace, and gives the same figures each time."""

from collections.abc import Callable
from typing import Any

import datasets
import pytest
import torch


def test_evaluation_repeats_and_leaves_no_trace(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    """Contrastive negatives are random: drawn from the training's generator they would change what follows."""
    trainer = make_trainer(eval_dataset=make_rows(7))
    trainer.train()
    before = torch.get_rng_state()
    first, second = trainer.evaluate(), trainer.evaluate()
    assert "eval_loss_crd" in first
    assert {name: first[name] for name in first if "loss" in name} == {
        name: second[name] for name in second if "loss" in name
    }
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_in_an_hf_data_set(make_trainer: Callable[..., Any], make_rows: Callable[..., Any]) -> None:
    """A data set that holds `pixel_values` already needs no image column."""
    rows = make_rows(6)
    columns = {key: [rows[row][key] for row in range(6)] for key in ("pixel_values", "labels", "sample_index")}
    trainer = make_trainer(train_dataset=datasets.Dataset.from_dict(columns))
    trainer.train()


def test_class_names_in_another_order(make_trainer: Callable[..., Any], make_images: Callable[..., Any]) -> None:
    """The same classes in another order train on wrong labels, without an error anywhere."""
    images = make_images(8)
    names = images.features["label"].names or [str(number) for number in range(images.features["label"].num_classes)]
    images = images.cast_column("label", datasets.ClassLabel(names=[f"c{name}" for name in names]))
    trainer = make_trainer()
    student = trainer.student
    student.config.id2label = {number: f"c{name}" for number, name in enumerate(reversed(names))}
    with pytest.raises(ValueError, match="in another order"):
        make_trainer(model=student, train_dataset=images)
