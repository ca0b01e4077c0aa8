"""Images of none of the classes, trained on beside the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import datasets
import pytest
import torch

from exrep_hf import CachedTeacher, DistillationTrainer
from exrep_hf.data import ViewPolicy, WithExtraImages

MakeTrainer = Callable[..., DistillationTrainer]
MakeImages = Callable[[int], datasets.Dataset]


def seen(trainer: DistillationTrainer) -> list[dict[str, torch.Tensor]]:
    """Train, and return the batches as they were before they were mixed."""
    batches: list[dict[str, torch.Tensor]] = []
    trainer.note_images = batches.append  # type: ignore[method-assign, assignment]
    trainer.train()
    return batches


def test_they_follow_the_teacher_and_no_label(make_trainer: MakeTrainer, make_images: MakeImages, logged: Any) -> None:
    """An epoch has each image once and a fourth of extra ones, which have no label; all terms and CRD's bank run."""
    both = WithExtraImages(make_images(12), make_images(20), 0.25)
    trainer = make_trainer(train_dataset=both, max_steps=8, feature_weight=1.0)
    assert len(cast(Any, trainer.train_dataset)) == 16 and trainer.args.max_steps == 8
    batches = seen(trainer)
    rows, labels = (torch.cat([batch[name] for batch in batches]) for name in ("sample_index", "labels"))
    assert len(rows) == 32 and sorted(rows[:16].tolist()) == [*range(12), 12, 13, 14, 15]
    assert sorted(rows[16:].tolist()) == [*range(12), 16, 17, 18, 19]
    assert torch.equal(labels, torch.where(rows < 12, rows % 4, -1))
    crd: Any = trainer.distillation_objective.crd
    assert crd.negatives.labels.tolist() == [row % 4 for row in range(12)] + [-1] * 20
    assert len(logged(trainer, "loss_kd")) == 8


def test_length_follows_from_the_images_themselves(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """A thousand extra images would make 30 epochs very long."""
    settings: dict[str, Any] = {"max_steps": -1, "num_train_epochs": None, "crd_weight": 0.0}
    both = WithExtraImages(make_images(12), make_images(64), 0.25)
    for given in (both, make_images(16)):
        assert make_trainer(train_dataset=given, **settings).args.max_steps == 1500
    settings = {"max_steps": -1, "num_train_epochs": 2, "crd_weight": 0.0}
    trainer = make_trainer(train_dataset=both, **settings)
    trainer.train()
    assert trainer.state.global_step == 8


def test_whole_steps(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """A step of the few items that extra images leave over spoils what BatchNorm learns."""
    both, settings = WithExtraImages(make_images(12), make_images(20), 0.25), {"crd_weight": 0.0, "max_steps": 6}
    trainer = make_trainer(train_dataset=both, per_device_train_batch_size=6, **settings)
    assert len(cast(Any, trainer.train_dataset)) == 18
    batches = seen(trainer)
    assert [len(batch["pixel_values"]) for batch in batches] == [6] * 6
    # Each image as often as any other, over walks that go on from one epoch to the next.
    rows = torch.cat([batch["sample_index"] for batch in batches])
    counts = rows.bincount(minlength=12)[:12]
    assert counts.max() - counts.min() <= 1 and 0.2 < (rows >= 12).float().mean() < 0.3
    settings["dataloader_drop_last"] = True
    assert (
        len(cast(Any, make_trainer(train_dataset=both, per_device_train_batch_size=6, **settings).train_dataset)) == 16
    )


@pytest.mark.parametrize("views", [None, 2])
def test_resumed_to_the_bit(
    views: int | None, make_trainer: MakeTrainer, make_images: MakeImages, parameters: Any, tmp_path: Path
) -> None:
    """Which extra images come when follows from the step."""
    settings: dict[str, Any] = {"crd_weight": 0.0, "mixup": 1.0, "cutmix": 1.0, "feature_weight": 1.0, "views": views}
    settings |= {"max_steps": 7, "save_strategy": "steps", "save_steps": 3, "ce_weight": 1.0}

    def trainer(share: float = 0.4) -> DistillationTrainer:
        both = WithExtraImages(make_images(9), make_images(30), share)
        return make_trainer(train_dataset=both, output_dir=str(tmp_path / "out"), **settings)

    whole = trainer()
    whole.train()
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(resumed)[name], value), name
    with pytest.raises(ValueError, match="extra images: {'count': 30, 'share': 0.4} in the checkpoint, .*0.5"):
        trainer(0.5).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))


def test_faults(make_trainer: MakeTrainer, make_images: MakeImages, teacher: Any, tmp_path: Path) -> None:
    """Each would train on something else than was meant, or on nothing."""
    both = WithExtraImages(make_images(8), make_images(8))
    no_term = {"kd_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "ce_weight": 1.0}
    with pytest.raises(ValueError, match="8 extra images, and no term follows a teacher"):
        make_trainer(train_dataset=both, **no_term)
    with pytest.raises(ValueError, match="2 extra images, of which 3 come .*`queue_length`"):
        make_trainer(train_dataset=WithExtraImages(make_images(8), make_images(2)))
    CachedTeacher.write(teacher, make_images(8), tmp_path / "answers", ViewPolicy(2))
    with pytest.raises(ValueError, match="8 extra images, and the teacher's answers are stored"):
        make_trainer(train_dataset=both, teacher=CachedTeacher(tmp_path / "answers"))
