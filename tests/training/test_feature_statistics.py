"""Teacher features are standardised by how they are distributed over the images that are trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import Mixing, ViewPolicy
from exrep_hf.training import feature_statistics

ONLY_FEATURES: dict[str, Any] = dict.fromkeys(("ce_weight", "kd_weight", "crd_weight", "adversarial_weight"), 0)
ONLY_FEATURES["feature_weight"] = 0.5


def trained(trainer: DistillationTrainer) -> tuple[Tensor, Tensor]:
    trainer.train()
    feature = trainer.distillation_objective.feature
    assert feature is not None and feature.is_standardised
    return feature.mean, feature.deviation


def test_images_as_they_are(make_trainer: Callable[..., Any], teacher: OnlineTeacher) -> None:
    """Of images that nothing varies it is the plain mean and deviation over all of them."""
    trainer = make_trainer(**ONLY_FEATURES)
    mean, deviation = trained(trainer)
    batch = {"pixel_values": torch.stack([trainer.train_dataset[row]["pixel_values"] for row in range(12)])}
    features = teacher(batch).features
    assert features is not None
    # Of 2 048 images each of the twelve comes as often as the others, or once more.
    torch.testing.assert_close(mean, features.mean(0), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(deviation, features.std(0, unbiased=False), rtol=2e-2, atol=2e-2)


def test_mixed_images(make_trainer: Callable[..., Any], teacher: OnlineTeacher) -> None:
    """They are those of mixtures, which the student is compared on."""
    trainer = make_trainer(**ONLY_FEATURES | {"mixup": 1.0, "mix_rounds": 2})
    mean, deviation = trained(trainer)
    images = torch.stack([trainer.train_dataset[row]["pixel_values"] for row in range(12)])
    plain = teacher({"pixel_values": images}).features
    mixing = Mixing(1.0, 0.0, 2)
    # In batches of four, as they are trained on: an image may be its own partner.
    parts = [images[torch.randperm(12)[:4]] for _ in range(600)]
    made = [teacher(mixing({"pixel_values": part}, 4)).features for part in parts]
    mixed = torch.cat([each for each in made if each is not None])
    assert plain is not None and float((mixed.mean(0) - plain.mean(0)).norm() / mixed.std(0).norm()) > 0.1
    torch.testing.assert_close(mean, mixed.mean(0), rtol=0.1, atol=0.03)
    torch.testing.assert_close(deviation, mixed.std(0), rtol=0.1, atol=0.01)


def test_they_are_found_again_and_move_no_generator(make_trainer: Callable[..., Any]) -> None:
    """A run with the term sees the images and mixtures of one without."""
    torch.manual_seed(5)
    first = trained(make_trainer(**ONLY_FEATURES | {"mixup": 1.0}))
    torch.manual_seed(6)
    second = trained(make_trainer(**ONLY_FEATURES | {"mixup": 1.0}))
    assert all(map(torch.equal, first, second))
    seen = []
    for weight in (0.0, 0.5):
        trainer = make_trainer(**ONLY_FEATURES | {"kd_weight": 1.0, "feature_weight": weight, "mixup": 1.0})
        trainer.note_images = lambda batch: seen.append(batch["pixel_values"].sum())
        trainer.train()
    assert len(seen) == 8 and seen[:4] == seen[4:]


def test_of_stored_answers_all_count(
    make_trainer: Callable[..., Any], teacher: OnlineTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are exact, and no image is made for them."""
    trainer = make_trainer(**ONLY_FEATURES)
    views = ViewPolicy(3, seed=42, mixing=Mixing(1.0, 0.0, 2))
    rows = trainer.train_dataset.dataset
    cached = CachedTeacher.write(teacher, rows, tmp_path / "answers", views)
    stored = [load_file(path)["features"].double() for path in sorted((tmp_path / "answers").rglob("*.safetensors"))]
    monkeypatch.setattr(feature_statistics, "IMAGES", 0)
    settings = ONLY_FEATURES | {"views": 3, "mixup": 1.0, "mix_rounds": 2}
    mean, deviation = trained(make_trainer(teacher=cached, train_dataset=rows, **settings))
    every = torch.cat(stored)
    assert len(every) == 36
    torch.testing.assert_close(mean, every.mean(0).float())
    torch.testing.assert_close(deviation, every.std(0, unbiased=False).float(), rtol=1e-4, atol=1e-6)


def test_a_checkpoint_keeps_them(make_trainer: Callable[..., Any], parameters: Callable[..., Any]) -> None:
    """A resumed run goes on under the statistics that it began with, to the bit, and collects none."""
    settings = ONLY_FEATURES | {"kd_weight": 1.0, "mixup": 1.0, "mix_rounds": 2}
    whole = make_trainer(**settings)
    whole.train()
    first = make_trainer(**settings, save_strategy="steps", save_steps=2)
    first.train()
    checkpoint = Path(first.args.output_dir) / "checkpoint-2"
    assert "terms.feature.loss.mean" in load_file(checkpoint / "distillation_state.safetensors")
    resumed = make_trainer(**settings)
    resumed._feature_statistics = lambda: pytest.fail("collected again")
    resumed.train(resume_from_checkpoint=str(checkpoint))
    expected, found = parameters(whole), parameters(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_evaluation_before_training_leaves_the_term_out(make_trainer: Callable[..., Any]) -> None:
    """Nothing is known of the features yet; afterwards the term is there."""
    trainer = make_trainer(**ONLY_FEATURES | {"kd_weight": 1.0})
    evaluated = trainer.train_dataset.dataset
    assert "eval_loss_feature" not in trainer.evaluate(evaluated)
    trainer.train()
    metrics = trainer.evaluate(evaluated)
    assert metrics["eval_loss"] == pytest.approx(
        metrics["eval_loss_kd"] + 0.5 * metrics["eval_loss_feature"], rel=1e-5
    )


def test_it_is_not_published(make_trainer: Callable[..., Any], tmp_path: Path) -> None:
    trainer = make_trainer(**ONLY_FEATURES)
    trainer.train()
    trainer.save_model(str(tmp_path / "student"))
    assert not [name for name in load_file(tmp_path / "student" / "model.safetensors") if "projector" in name]
