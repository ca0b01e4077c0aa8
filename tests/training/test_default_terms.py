"""Which terms and how much mixing there are where nobody says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exrep_hf import CachedTeacher, DistillationArguments, OnlineTeacher
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.training.default_terms import complete_terms, rounds_for

UNMIXED = {"mixup": 0.0, "cutmix": 0.0}


@pytest.mark.parametrize(
    ("changes", "gives_features", "weight"),
    [
        ({}, True, 10.0),
        ({}, False, 0.0),
        # On images as they are it does not pay; without logits it is asked for, or another term is.
        (UNMIXED, True, 0.0),
        ({"kd_weight": 0.0, "ce_weight": 1.0}, True, 0.0),
        ({"feature_weight": 0.0}, True, 0.0),
        ({"feature_weight": 2.5} | UNMIXED, True, 2.5),
    ],
)
def test_features(tmp_path: Path, changes: dict[str, Any], gives_features: bool, weight: float) -> None:
    args = DistillationArguments(output_dir=str(tmp_path), **changes)
    chosen = complete_terms(args, gives_features, 500, 10)
    assert chosen.args.feature_weight == weight
    assert args.feature_weight == changes.get("feature_weight"), "the caller's settings are not changed"
    assert any("`feature_weight` 10" in line for line in chosen.told) == (weight == 10.0)
    left_out = [line for line in chosen.told if "features are left out (`feature_weight` 0)" in line]
    assert len(left_out) == (changes == UNMIXED)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"ce_weight": 1.0}, 1.0),
        ({"ce_weight": 1.0} | UNMIXED, 1.0),
        # What is asked for: nothing of the teacher, or something else.
        ({"ce_weight": 1.0, "feature_weight": 0.0}, 0.0),
        ({"ce_weight": 1.0, "crd_weight": 0.8} | UNMIXED, 0.0),
    ],
)
def test_a_teacher_without_logits_has_its_features_alone(
    tmp_path: Path, changes: dict[str, Any], weight: float
) -> None:
    """It was never asked, without a word, and the card called the student distilled."""
    args = DistillationArguments(output_dir=str(tmp_path), kd_weight=0.0, **changes)
    chosen = complete_terms(args, True, 500, 10, gives_logits=False)
    assert chosen.args.feature_weight == weight
    told = any("has no logits, and its features count: `feature_weight` 1" in line for line in chosen.told)
    assert told == bool(weight)


@pytest.mark.parametrize("changes", [{}, {"ce_weight": 1.0}])
def test_a_classifier_that_nothing_trains(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Its accuracy falls while the loss does: that must not come as a surprise."""
    args = DistillationArguments(output_dir=str(tmp_path), kd_weight=0.0, feature_weight=1.0, **changes)
    told = complete_terms(args, True, 500, 10).told
    assert any("no term trains the student's classifier" in line for line in told) == (not changes)


@pytest.mark.parametrize(
    ("changes", "images", "stored", "rounds"),
    [
        ({}, 50, None, 2),
        ({}, 51, None, 1),
        ({}, None, None, 1),
        (UNMIXED, 20, None, 1),
        ({"mix_rounds": 3}, 5000, None, 3),
        # Answers are stored for mixtures as they are.
        ({}, 20, ViewPolicy(2, mixing=Mixing(1.0, 1.0)), 1),
        ({}, 5000, ViewPolicy(2, mixing=Mixing(1.0, 1.0, 2)), 2),
    ],
)
def test_rounds(
    tmp_path: Path, changes: dict[str, Any], images: int | None, stored: ViewPolicy | None, rounds: int
) -> None:
    args = DistillationArguments(output_dir=str(tmp_path), **changes)
    chosen = complete_terms(args, True, images, 10, stored)
    assert chosen.args.mix_rounds == rounds
    assert any("mixtures are of" in line for line in chosen.told) == (args.mix_rounds is None and rounds > 1)


def test_a_student_without_classes_is_no_reason_for_more_rounds() -> None:
    assert rounds_for(0, None) == 2 and rounds_for(1, None) == 1


def test_a_run_of_our_defaults(
    make_trainer: Callable[..., Any], make_images: Callable[[int], Any], teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Few images: features and two rounds, with the teacher and with its stored answers alike."""
    images, defaults = make_images(12), DistillationArguments(output_dir=str(tmp_path / "defaults"))
    names = ("ce_weight", "kd_weight", "feature_weight", "crd_weight", "adversarial_weight", "mixup", "cutmix")
    settings = {name: getattr(defaults, name) for name in names} | {"views": 2, "max_steps": 2, "seed": 3}
    crop = Augmentation((0.35, 1.0))
    online = make_trainer(train_dataset=images, augmentation=crop, **settings)
    assert (online.args.feature_weight, online.args.mix_rounds) == (10.0, 2)
    policy = ViewPolicy(2, 3, crop, Mixing(1.0, 1.0, 2))
    cached = CachedTeacher.write(teacher, images, tmp_path / "answers", policy)
    stored = make_trainer(train_dataset=images, augmentation=crop, teacher=cached, **settings)
    assert (stored.args.feature_weight, stored.args.mix_rounds) == (10.0, 2)
    losses = []
    for trainer in (online, stored):
        trainer.train()
        losses.append([entry["loss_kd"] for entry in trainer.state.log_history if "loss_kd" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
