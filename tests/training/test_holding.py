"""Training on images that are held on the device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from exrep_hf import DistillationArguments, DistillationTrainer
from exrep_hf.data import Augmentation, load_images
from exrep_hf.models import load_classifier

TINY = "timm/test_efficientnet"


def trainer(
    folder: Path, held: bool | None = True, augmentation: Any = "preset", **settings: Any
) -> DistillationTrainer:
    torch.manual_seed(0)
    images = load_images("digits")["train"].select(range(96))
    usual: dict[str, Any] = {"max_steps": 6, "per_device_train_batch_size": 16, "learning_rate": 1e-3, "report_to": []}
    usual |= {"use_cpu": True, "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True}
    args = DistillationArguments(str(folder), images_on_device=held, **(usual | settings))
    student, teacher = (load_classifier(TINY, num_labels=10, pretrained=False) for _ in range(2))
    return DistillationTrainer(student, teacher, args, images, augmentation=augmentation, classes="position")


def losses(run: DistillationTrainer) -> list[float]:
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def test_a_run_is_that_of_a_loader(tmp_path: Path) -> None:
    """The same boxes, flips and mixtures: losses agree to what a level of 255 makes of them."""
    held, usual = (trainer(tmp_path / str(on), on) for on in (True, False))
    for run in (held, usual):
        run.train()
    assert losses(held) == pytest.approx(losses(usual), rel=5e-3)
    assert held._held is not None and usual._held is None


def test_batches_hold_boxes_alone(tmp_path: Path) -> None:
    """No pixel is decoded, collated or copied in a step; evaluation goes on as ever."""
    run = trainer(tmp_path)
    loader: DataLoader[Any] = run.get_train_dataloader()
    batch: dict[str, Tensor] = next(iter(loader))
    assert batch.keys() == {"crop", "labels", "sample_index"}
    made = run._prepare_inputs(batch)
    assert made.keys() == {"pixel_values", "labels", "sample_index"} and made["pixel_values"].dtype == torch.float32
    assert run.train_dataset is not None and "pixel_values" in run.train_dataset[0]


def test_resumed_to_the_bit(tmp_path: Path) -> None:
    """Images are decoded again, and crops are those that an uninterrupted run would have made."""
    whole = trainer(tmp_path / "whole")
    whole.train()
    part = trainer(tmp_path / "part", max_steps=6, save_strategy="steps", save_steps=3)
    part.train()
    again = trainer(tmp_path / "part", save_strategy="steps", save_steps=3)
    again.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-3"))
    for mine, theirs in zip(weights(whole), weights(again), strict=True):
        assert torch.equal(mine, theirs)


def weights(run: DistillationTrainer) -> list[Tensor]:
    assert isinstance(run.model, nn.Module)
    return [value.detach() for value in run.model.state_dict().values()]


@pytest.mark.parametrize(
    ("augmentation", "settings", "reason"),
    [
        (None, {}, "not varied by random crops and flips alone"),
        (Augmentation(auto_augment="rand-m6-n2"), {}, "not varied by random crops and flips alone"),
        ("preset", {"views": 2}, "fixed `views`"),
    ],
)
def test_where_it_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], augmentation: Any, settings: dict[str, Any], reason: str
) -> None:
    """In a study one arm may have views of another kind: it says so, and goes on as without."""
    run = trainer(tmp_path, True, augmentation, max_steps=1, **settings)
    run.train()
    told = capsys.readouterr().out
    assert "`images_on_device` is left out: " in told and reason in told
    assert run._held is None and run.args.images_on_device is False


def test_a_cpu_does_so_only_when_it_is_asked_to(tmp_path: Path) -> None:
    """Nobody measured that it pays on any CPU."""
    assert trainer(tmp_path, None).args.images_on_device is False
