"""Training images that are held on the device."""

import copy
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from exrep_hf import DistillationArguments, DistillationTrainer
from exrep_hf.data import Augmentation, DistillationDataset, Preprocessing, ViewTransform
from exrep_hf.data.held_images import HeldImages, most_pixels
from exrep_hf.teacher import OnlineTeacher
from exrep_hf.training.images_on_device import hold_images
from tests.training.conftest import PREPROCESSING, TensorRows, network

PLAIN = {"crd_weight": 0.0, "augmentation": Augmentation(), "images_on_device": True}


def weights(trainer: DistillationTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.student.state_dict().items()}


def test_a_batch_is_what_the_ordinary_path_makes_of_the_same_crops(
    make_trainer: Callable[..., DistillationTrainer], make_images: Callable[[int], Any]
) -> None:
    """Prevents other pixels, rows or labels, and two crops for teacher and student."""
    large = Preprocessing(40, 40, None, "bilinear", (0.4,) * 3, (0.3,) * 3)
    teacher = OnlineTeacher(network(1), processing_class=large.to_image_processor())
    rows = make_images(12)
    trainer = make_trainer(train_dataset=rows, teacher=teacher, **PLAIN)
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == {"sample_index", "crop", "labels"}
    made = trainer._prepare_inputs(batch)
    assert batch["labels"].tolist() == [rows[row]["label"] for row in batch["sample_index"].tolist()]
    for place, row in enumerate(batch["sample_index"].tolist()):
        top, left, height, width, flip = batch["crop"][place].tolist()
        view = rows[row]["image"].crop((left, top, left + width, top + height))
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view
        for name, wanted in (("pixel_values", PREPROCESSING), ("teacher_pixel_values", large)):
            apart = (made[name][place] - wanted.squeezed(view)).abs() * torch.tensor(wanted.std)[:, None, None] * 255
            assert apart.max() < 2.1, name


@pytest.mark.parametrize("mixed", [{}, {"mixup": 1.0, "cutmix": 1.0, "mix_rounds": 2}])
def test_resumes_to_the_bit(
    mixed: dict[str, Any], make_trainer: Callable[..., DistillationTrainer], make_images: Any, tmp_path: Path
) -> None:
    settings = PLAIN | mixed | {"max_steps": 8, "save_strategy": "steps", "save_steps": 5}
    whole = make_trainer(train_dataset=make_images(12), **settings)
    whole.train()
    again = make_trainer(train_dataset=make_images(12), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5"))
    wanted, found = weights(whole), weights(again)
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_images_of_several_sizes_are_held_in_one(make_trainer: Any) -> None:
    """Prevents crops in pixels of the held image: boxes are the original's."""
    column = np.tile(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], (200, 1, 3))
    images = [Image.fromarray(column), Image.fromarray(column).resize((30, 60))]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=3))
    rows = datasets.Dataset.from_dict({"image": images * 3, "label": [0, 1, 2] * 2}, features=features)
    trainer = make_trainer(train_dataset=rows, **PLAIN)
    held: HeldImages = trainer._on_device.images
    assert held.resized and held.pixels.shape[0] == 6 and len(held.pixels[0]) == 1, "grey images have one channel"
    crop = torch.tensor([[50, 100, 100, 200, 0], [15, 7, 30, 15, 1]])
    made = held({"sample_index": torch.tensor([0, 1]), "crop": crop})["pixel_values"].float()
    assert made.shape[1] == 3
    for each, (row, box) in zip(made, ((0, (100, 50, 300, 150)), (1, (7, 15, 22, 45))), strict=True):
        wanted = PREPROCESSING.squeezed_pixels(images[row].crop(box)).float()
        apart = each - (wanted.flip(-1) if row else wanted)
        assert apart.abs().max() < 8


def test_workers_decode_images_of_an_evaluation_alone(make_trainer: Any, make_images: Callable[[int], Any]) -> None:
    """There were none for them where training images are held, and one process decoded all others."""
    given = PLAIN | {"train_dataset": make_images(12), "eval_dataset": make_images(8), "dataloader_num_workers": 2}
    trainer = make_trainer(**given, dataloader_persistent_workers=True)
    assert trainer.get_train_dataloader().num_workers == 0
    assert trainer.get_eval_dataloader().num_workers == 2
    assert (trainer.args.dataloader_num_workers, trainer.args.dataloader_persistent_workers) == (2, True)
    trainer.train()
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1


def test_photographs_are_never_all_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made small before the next is decoded; what comes out is what it was."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(rng.integers(0, 256, (90 + row, 110, 3), dtype=np.uint8)) for row in range(6)]
    rows = datasets.Dataset.from_dict({"image": photographs}, features=datasets.Features(image=datasets.Image()))
    transform = ViewTransform(PREPROCESSING, (), Augmentation(scale=(0.5, 1.0)), normalised=False)
    dataset, alive, most = DistillationDataset(rows, transform, "image"), weakref.WeakSet[torch.Tensor](), 0
    original = DistillationDataset.pixels

    def pixels(self: DistillationDataset, row: int) -> torch.Tensor:
        nonlocal most
        image = original(self, row).clone()
        alive.add(image)
        most = max(most, len(alive))
        return image

    monkeypatch.setattr(DistillationDataset, "pixels", pixels)
    held = HeldImages(dataset, torch.device("cpu"))
    assert most <= 2 and held.sizes.tolist() == [[90 + row, 110] for row in range(6)]
    size = most_pixels(transform, Augmentation(scale=(0.5, 1.0)))
    assert held.resized and held.pixels.shape == (6, 3, *size)
    for row in range(6):
        assert torch.equal(held.pixels[row], PREPROCESSING.resized_pixels(original(dataset, row), size))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augmentation": None}, "images are not varied"),
        ({"augmentation": Augmentation(auto_augment="rand-m9-mstd0.5")}, "`auto_augment` is 'rand-m9-mstd0.5'"),
        ({"views": 2}, "only some views"),
        ({"train_dataset": TensorRows(12)}, "`train_dataset` is a TensorRows"),
    ],
)
def test_what_cannot_be_held_is_told(
    changes: dict[str, Any], reason: str, make_trainer: Any, make_images: Any
) -> None:
    """In a study one arm may have views of another kind: it goes on as without, and says so."""
    trainer = make_trainer(**({"train_dataset": make_images(12)} | PLAIN | changes))
    assert trainer._on_device is None and trainer.args.images_on_device is False
    (told,) = hold_images(asked(trainer.args), trainer.train_dataset)[1].told
    assert told.startswith("`images_on_device` is left out: ") and reason in told


def asked(args: DistillationArguments) -> DistillationArguments:
    args = copy.copy(args)
    args.images_on_device = True
    return args


def test_by_itself_on_a_gpu_alone(make_trainer: Any, make_images: Any) -> None:
    trainer = make_trainer(train_dataset=make_images(12), **PLAIN | {"images_on_device": None})
    assert trainer._on_device is None and trainer.args.images_on_device is False
    held, chosen = hold_images(make_trainer(train_dataset=make_images(12), **PLAIN).args, trainer.train_dataset)
    assert held is not None and chosen.args.images_on_device
    assert chosen.told[0].startswith("12 training images are held on the device, about 0 MiB")
    assert "images" not in vars(held), "decoded before anybody asks for them"
