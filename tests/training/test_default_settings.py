"""Settings that follow from student and images."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exrep_hf import DistillationArguments, ExRepForImageClassification
from exrep_hf.data import Augmentation
from exrep_hf.training.default_settings import (
    RATE_FROM_NOTHING,
    RATE_FROM_WEIGHTS,
    complete,
    images_per_step,
    planned_steps,
    preset_notes,
)


def arguments(folder: Path, **changes: Any) -> DistillationArguments:
    return DistillationArguments(output_dir=str(folder), use_cpu=True, report_to="none", **changes)


@pytest.mark.parametrize(
    ("from_nothing", "changes", "images", "rate"),
    [
        (False, {}, 5000, RATE_FROM_WEIGHTS),
        (True, {}, 5000, RATE_FROM_NOTHING),
        (True, {"per_device_train_batch_size": 32}, 5000, RATE_FROM_NOTHING / 2),
        (False, {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 8}, 5000, 2 * RATE_FROM_WEIGHTS),
        # Fewer images than a batch fill it all the same; with a memory bank they are all there is.
        (False, {}, 32, RATE_FROM_WEIGHTS),
        (False, {"crd_weight": 1.0, "mixup": 0.0, "cutmix": 0.0}, 32, RATE_FROM_WEIGHTS / 2),
        (False, {}, None, RATE_FROM_WEIGHTS),
        (True, {"learning_rate": 0.5}, 5000, 0.5),
    ],
)
def test_learning_rate(
    tmp_path: Path, from_nothing: bool, changes: dict[str, Any], images: int | None, rate: float
) -> None:
    """The Trainer's 5e-5 leaves a student where it was; what is given wins."""
    args = arguments(tmp_path, **changes)
    chosen = complete(args, from_nothing, images)
    assert chosen.args.learning_rate == pytest.approx(rate, rel=0.02)
    assert args.learning_rate == changes.get("learning_rate"), "the caller's settings are not changed"
    assert any("learning rate" in line for line in chosen.told) == ("learning_rate" not in changes)


def test_no_rule_for_other_optimizers(tmp_path: Path) -> None:
    """AdamW's rate under SGD trains nothing, or ruins the student."""
    args = arguments(tmp_path, optim="sgd")
    with pytest.raises(ValueError, match="`learning_rate` is not given and `optim` is 'sgd'; expected a value"):
        complete(args, False, 100)
    assert complete(args, False, 100, own_optimizer=True).args.learning_rate is not None
    assert complete(arguments(tmp_path, optim="sgd", learning_rate=0.1), False, 100).args.learning_rate == 0.1


def test_deepspeed_wants_its_rate_early(tmp_path: Path) -> None:
    """DeepSpeed's `auto` would be filled with nothing, and fail deep within it."""
    args: Any = arguments(tmp_path)
    args.hf_deepspeed_config = SimpleNamespace(config={"scheduler": {}, "zero_optimization": {}})
    with pytest.raises(ValueError, match=r"DeepSpeed's config has the blocks \['scheduler'\].*Give `learning_rate`"):
        complete(args, False, 100)
    args.learning_rate = 0.1
    assert complete(args, False, 100).args.learning_rate == 0.1


@pytest.mark.parametrize(
    ("images", "changes", "steps", "epochs"),
    [
        (500, {}, 1500, 30.0),
        (20, {}, 1500, 30.0),
        (128_000, {}, 30_000, 30.0),
        (128_001, {}, 30_030, 30.0),
        (500, {"max_steps": 7}, 7, 3.0),
        (500, {"num_train_epochs": 2}, -1, 2),
        (500, {"num_train_epochs": 2, "max_steps": 7}, 7, 2),
    ],
)
def test_length(tmp_path: Path, images: int, changes: dict[str, Any], steps: int, epochs: float) -> None:
    """Three epochs of 500 images are twelve steps: mixed images then only hurt."""
    chosen = complete(arguments(tmp_path, **changes), False, images)
    assert (chosen.args.max_steps, chosen.args.num_train_epochs) == (steps, epochs)
    assert any("no length was given" in line for line in chosen.told) == (not changes)


@pytest.mark.parametrize(
    ("from_nothing", "changes", "frozen"),
    [
        (False, {}, False),
        (False, {"mixup": 0, "cutmix": 0}, True),
        (True, {"mixup": 0, "cutmix": 0}, False),
        (False, {"mixup": 0, "cutmix": 0, "freeze_batch_norm": False}, False),
        (True, {"freeze_batch_norm": True}, True),
    ],
)
def test_batch_norm(tmp_path: Path, from_nothing: bool, changes: dict[str, Any], frozen: bool) -> None:
    """Statistics of whole images are wrong for mixtures, and those of an untrained network for everything."""
    chosen = complete(arguments(tmp_path, **changes), from_nothing, 100)
    assert chosen.args.freeze_batch_norm is frozen
    word = "frozen" if frozen else "free"
    assert any(f"BatchNorm statistics {word}" in line for line in chosen.told) == ("freeze_batch_norm" not in changes)


def test_too_few_steps_for_mixing_are_told(tmp_path: Path) -> None:
    """So short a run is better off without mixing, which nobody knows from its name."""
    short = complete(arguments(tmp_path, max_steps=300), False, 5000).told
    assert any("300 steps are few for mixed images" in line and "`mixup` 0" in line for line in short)
    for changes in ({"max_steps": 1500}, {"max_steps": 300, "mixup": 0, "cutmix": 0}):
        assert not any("few" in line for line in complete(arguments(tmp_path, **changes), False, 5000).told)


def test_parts_of_different_presets_are_told(tmp_path: Path, make_student: Callable[[], Any]) -> None:
    """The paper's loss on another student and other images is not the paper's method."""
    paper, own = arguments(tmp_path), make_student()
    assert preset_notes(own, None, paper) == [], "the default's parts are anybody's to change"
    paper = DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path), use_cpu=True, report_to="none")
    notes = preset_notes(own, Augmentation(), paper)
    assert "has the distiller `paper`, the student `light`" in notes[0] and "preset='exrep-paper'" in notes[0]
    assert "varies images by None, this run by Augmentation(scale=(0.35, 1.0)" in notes[1]
    own.preset = "kd"
    assert "the preset `exrep-paper`, the student those of `kd`" in preset_notes(own, "preset", paper)[0]
    backbone, size = own.classifier, own.config.image_size
    whole = ExRepForImageClassification.from_backbone(backbone, preset="exrep-paper", image_size=size)
    assert (whole.config.distiller, whole.config.image_size) == ("paper", size)
    assert preset_notes(whole, Augmentation.from_preset("exrep-paper"), paper) == []


def test_the_printed_epochs_are_those_that_are_run(tmp_path: Path) -> None:
    """500 images are four batches of up to 128: a last batch that is not full is a step all the same."""
    told = complete(arguments(tmp_path), False, 500).told
    assert "1500 steps, 375 epochs of 500 images: no length was given" in told


def test_steps_and_images(tmp_path: Path) -> None:
    """A prediction of the length is one of these; a wrong one leaves controls out for nothing."""
    args = complete(arguments(tmp_path, num_train_epochs=2), False, 300).args
    assert (images_per_step(args, 300), images_per_step(args, 50), images_per_step(args, None)) == (128, 128, 128)
    with_bank = arguments(tmp_path, crd_weight=1.0, mixup=0.0, cutmix=0.0)
    assert (images_per_step(with_bank, 300), images_per_step(with_bank, 50)) == (128, 50)
    assert (planned_steps(args, 300), planned_steps(args, None)) == (6, 0)
