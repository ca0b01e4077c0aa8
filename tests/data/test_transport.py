"""Pixels become what models take, the same to the bit wherever that happens."""

import io
import pickle

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from exrep_hf.data import (
    Augmentation,
    DistillationDataset,
    Normalising,
    Preprocessing,
    ViewTransform,
    collate_distillation,
)
from exrep_hf.data.datasets import SeededDataset

STUDENT = Preprocessing(24, 24, 28, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TEACHER = Preprocessing(32, 20, None, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.3, 0.35))
GREY = Preprocessing(16, 16, None, "bilinear", (0.5,), (0.25,))


def images(count: int, kind: str = "jpeg", mode: str = "RGB") -> datasets.Dataset:
    random = np.random.default_rng(0)
    stored = []
    for number in range(count):
        # Blocks, not noise alone, so that compressed images are not all alike.
        blocks = np.kron(random.integers(0, 256, (5, 6, 3)), np.ones((8, 9, 1))) + random.integers(-9, 9, (40, 54, 3))
        buffer = io.BytesIO()
        Image.fromarray(blocks.clip(0, 255).astype(np.uint8)).convert(mode).save(buffer, kind)
        stored.append({"bytes": buffer.getvalue(), "path": f"{number}.{kind}"})
    return datasets.Dataset.from_dict({"image": stored}, datasets.Features({"image": datasets.Image()}))


@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(auto_augment="rand-m9-mstd0.5")])
@pytest.mark.parametrize("teachers", [(), (STUDENT,), (TEACHER,), (TEACHER, STUDENT, GREY)])
@pytest.mark.parametrize("stored", [("jpeg", "RGB"), ("png", "RGB"), ("jpeg", "L")])
def test_on_its_way_or_at_its_end(
    augmentation: Augmentation | None, teachers: tuple[Preprocessing, ...], stored: tuple[str, str]
) -> None:
    """A batch of pixels that is normalised is the batch of normalised items: no result changes by the way."""
    rows = images(4, *stored)
    batches = []
    for normalised in (True, False):
        transform = ViewTransform(STUDENT, teachers, augmentation, normalised=normalised)
        items = SeededDataset(DistillationDataset(rows, transform, "image"), 3)
        batches.append(collate_distillation(items.__getitems__(range(4))))
    done, raw = batches
    names = [name for name in raw if "pixel" in name]
    assert {raw[name].dtype for name in names} == {torch.uint8} and {done[name].dtype for name in names} == {
        torch.float32
    }
    made = Normalising(STUDENT, teachers)(raw)
    assert made.keys() == done.keys()
    for name, value in made.items():
        assert torch.equal(value, done[name]) and value.is_contiguous()
    # What is normalised already stays as it is.
    assert all(value is done[name] for name, value in Normalising(STUDENT, teachers)(done).items())


def test_whose_pixels() -> None:
    """A set that nobody knows the normalisation of is left as it is."""
    batch = {"pixel_values": torch.zeros(2, 3, 4, 4).byte(), "teacher_pixel_values": torch.ones(2, 3, 4, 4).byte()}
    made = Normalising(None, (TEACHER,))(batch)
    assert made["pixel_values"] is batch["pixel_values"]
    assert torch.equal(made["teacher_pixel_values"], TEACHER.normalised(batch["teacher_pixel_values"]))
    alone = Normalising.for_teacher((TEACHER,))
    assert torch.equal(alone(batch)["pixel_values"], TEACHER.normalised(batch["pixel_values"]))
    assert Normalising.for_teacher(())(batch) == batch
    assert alone.is_for(TEACHER, [TEACHER]) and not alone.is_for(STUDENT, [TEACHER]) and not alone.is_for(TEACHER, [])


def test_collators_in_workers() -> None:
    """They reach other processes pickled."""
    pixels = [torch.full((3, 4, 4), number).byte() for number in range(3)]
    collate = pickle.loads(pickle.dumps(Normalising(STUDENT).after(collate_distillation)))
    batch = collate([{"pixel_values": each, "label": number} for number, each in enumerate(pixels)])
    assert torch.equal(batch["pixel_values"], STUDENT.normalised(torch.stack(pixels)))
    assert batch["labels"].tolist() == [0, 1, 2]


def test_pixels_are_not_changed() -> None:
    """The loader may hand out the same batch again, of pixels or of numbers that are floats."""
    for pixels in (torch.arange(48).reshape(1, 3, 4, 4).byte(), torch.arange(48.0).reshape(1, 3, 4, 4)):
        before = pixels.clone()
        made = STUDENT.normalised(pixels)
        mean, std = (torch.tensor(each)[:, None, None] * 255 for each in (STUDENT.mean, STUDENT.std))
        assert torch.equal(pixels, before) and torch.equal(made, (before.float() - mean) / std)
