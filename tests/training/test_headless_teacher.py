"""A teacher without a head, from its name or its answers to the terms on features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import ViewPolicy
from exrep_hf.teacher.cache import Storage
from tests.families import SIZE, Rows, of_transformers

MakeTrainer = Callable[..., DistillationTrainer]
MakeImages = Callable[[int], datasets.Dataset]
FEATURES: dict[str, Any] = {"kd_weight": 0.0, "crd_weight": 0.0, "feature_weight": 1.0, "max_steps": 2}


def processor(size: int = SIZE) -> Any:
    return transformers.BitImageProcessor(size={"height": size, "width": size}, do_center_crop=False)


def test_a_folder_by_its_name(make_trainer: MakeTrainer, make_images: MakeImages, tmp_path: Path) -> None:
    """The design's example: a name is enough where a processor lies beside the weights."""
    network = of_transformers("Dinov2Model")
    network.save_pretrained(tmp_path / "dinov2")
    transformers.BitImageProcessor(size={"height": SIZE, "width": SIZE}, do_center_crop=False).save_pretrained(
        tmp_path / "dinov2"
    )
    trainer = make_trainer(teacher=str(tmp_path / "dinov2"), train_dataset=make_images(8), **FEATURES)
    trainer.train()
    assert trainer.teacher is not None and trainer.teacher.num_labels is None
    assert "loss_feature" in trainer.state.log_history[0]


def test_logits_of_a_network_without_a_head(make_trainer: MakeTrainer) -> None:
    """There are none to distil, and none are made up."""
    teacher = OnlineTeacher(of_transformers("Dinov2Model"), processor())
    with pytest.raises(ValueError, match="without a head there are no logits to compare"):
        make_trainer(teacher=teacher, train_dataset=Rows(), kd_weight=1.0, teacher_head="none")


def test_images_without_a_processor(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Which one is wanted, and of what."""
    with pytest.raises(
        ValueError, match=r"the teacher, a Dinov2Model, wants .*`OnlineTeacher\(model, processing_class, "
    ):
        make_trainer(teacher=of_transformers("Dinov2Model"), train_dataset=make_images(8), kd_weight=0.0)


def test_a_size_the_network_does_not_take(make_trainer: MakeTrainer) -> None:
    """Told with the first image, before anything is trained."""
    teacher = OnlineTeacher(of_transformers("CLIPVisionModel"), processor())
    with pytest.raises(ValueError, match=r"The teacher, a CLIPVisionModel, can't answer the first training .*16\*16"):
        make_trainer(teacher=teacher, train_dataset=Rows(16), kd_weight=0.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_size_is_printed(dtype: torch.dtype, make_trainer: MakeTrainer, capsys: Any) -> None:
    """Whether it fits beside the student is known before it does not."""
    network = of_transformers("Dinov2Model").to(dtype)
    count = sum(parameter.numel() for parameter in network.parameters())
    teacher = OnlineTeacher(network, processor(), batch_size=3)
    make_trainer(teacher=teacher, train_dataset=Rows(), max_steps=1, kd_weight=0.0, feature_weight=1.0).train()
    told = capsys.readouterr().out
    assert f"teacher: {count / 1e6:.1f} M parameters in {str(dtype).removeprefix('torch.')}, 0.00 GiB\n" in told


def test_stored_features_are_trained_on(make_trainer: MakeTrainer, make_images: MakeImages, tmp_path: Path) -> None:
    """As of the teacher itself: the same losses, to the last bit."""
    images = make_images(8)
    teacher = OnlineTeacher(of_transformers("Dinov2Model"), processor())
    views = ViewPolicy(2, 42)
    stored = CachedTeacher.write(teacher, images, tmp_path / "answers", views, Storage("float32", batch_size=4))
    losses = []
    for source, options in ((teacher, {"views": 2}), (stored, {})):
        trainer = make_trainer(teacher=source, train_dataset=images, **FEATURES | options)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == losses[1]
