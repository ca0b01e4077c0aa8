"""Evaluation leaves no trace, and gives the same figures each time."""

from collections.abc import Callable
from typing import Any

import datasets
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
