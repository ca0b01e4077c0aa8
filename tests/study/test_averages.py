"""A study whose student is an average of its weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from exrep_hf.publishing.card_body import check_body
from exrep_hf.training import ema
from tests.studies import run_study


def test_an_average_is_measured_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the method alone: neither of its teacher, nor of the students that all arms start from."""
    made: list[float] = []

    class Counted(ema.ModelEmaV3):
        def __init__(self, model: Any, decay: float, **settings: Any) -> None:
            super().__init__(model, decay, **settings)
            made.append(decay)

    monkeypatch.setattr(ema, "ModelEmaV3", Counted)
    folder = tmp_path / "study"
    saving = {"save_strategy": "steps", "save_steps": 4, "ema_decay": 0.9}
    changes = {"controls": {"as_trained": {"ema_decay": None}}, "num_seeds": 1, "distiller_share": 0.5}
    results = run_study(folder, **saving, **changes)
    assert made == [0.9]
    checkpoint = folder / "arms" / "exrep-seed42" / "checkpoint-4"
    average, trained = (load_file(checkpoint / f"{name}.safetensors") for name in ("model", "trained_weights"))
    as_trained = load_file(folder / "arms" / "as_trained-seed42" / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(value, as_trained[name]) for name, value in trained.items())
    published = load_file(folder / "model.safetensors")
    for name, value in published.items():
        assert torch.equal(value, average[f"classifier.timm_model.{name}"]), name
    assert any(not torch.equal(value, trained[f"classifier.timm_model.{name}"]) for name, value in published.items())
    with_distiller = load_file(folder / "with_distiller" / "model.safetensors")
    assert all(torch.equal(value, average[name]) for name, value in with_distiller.items())
    run, same = (results["arms"][name]["runs"][0] for name in ("exrep", "as_trained"))
    assert run["before"] == same["before"] and run["teacher"] == same["teacher"]
    assert run["after"]["loss"] != same["after"]["loss"]
    losses = [[entry["loss"] for entry in each["history"] if "loss" in entry] for each in (run, same)]
    assert losses[0] == losses[1] and losses[0]
    assert results["configuration"]["training"]["ema_decay"] == 0.9
    assert results["arms"]["as_trained"]["changes"] == {"ema_decay": None}
    card = ModelCard.load(folder / "README.md").text
    assert "; these weights are an exponential moving average, of a decay of at most 0.9.\n" in card
    assert check_body(card, results, "study").contradictions == []
