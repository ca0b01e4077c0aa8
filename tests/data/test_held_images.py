"""Images that are held on a device, against those that a loader makes anew."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from PIL import Image as Pictures

from exrep_hf.data import Augmentation, Preprocessing, load_images
from exrep_hf.data.augmentation import ViewTransform
from exrep_hf.data.collator import collate_distillation
from exrep_hf.data.datasets import DistillationDataset, SeededDataset
from exrep_hf.data.held_images import DrawnCrops, HeldImages, collate_crops, held_size, read_held

CPU = torch.device("cpu")


def preprocessing(size: int, channels: int, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(size, size, None, interpolation, (0.5,) * channels, (0.2,) * channels)


def both(
    rows: Any, models: tuple[Preprocessing, ...], held_at: tuple[int, int], epoch: int = 0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The batch of all images as a loader makes it, and as it is made of held images."""
    augmentation = Augmentation((0.35, 1.0))
    inner = DistillationDataset(
        rows, ViewTransform(models[0], models[1:], augmentation, None, False), "image", "label"
    )
    seeded = SeededDataset(inner, 7)
    seeded.set_epoch(epoch)
    pixels, sizes = read_held(inner, held_at, 0, CPU)
    drawn = copy.copy(seeded)
    drawn.dataset = DrawnCrops(inner, sizes, augmentation)
    order = list(range(len(rows)))[::-1]
    batch = collate_crops(drawn.__getitems__(order))
    return collate_distillation(seeded.__getitems__(order)), HeldImages(pixels, models[0], models[1:])(batch)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_same_crops_of_digits(interpolation: str) -> None:
    """Boxes, flips, labels and rows are those of the loader; teacher and student see the same crop."""
    rows = load_images("digits")["train"].select(range(60))
    models = (preprocessing(32, 1, interpolation), preprocessing(20, 1, interpolation))
    wanted, held = both(rows, models, (8, 8), epoch=3)
    assert wanted.keys() == held.keys() == {"pixel_values", "teacher_pixel_values", "labels", "sample_index"}
    for name in ("labels", "sample_index"):
        assert torch.equal(wanted[name], held[name]) and wanted[name].dtype == held[name].dtype
    for name in ("pixel_values", "teacher_pixel_values"):
        apart = (wanted[name].int() - held[name].int()).abs()
        assert held[name].dtype == torch.uint8 and apart.max() <= 2 and apart.float().mean() < 0.1
    other, _ = both(rows, models, (8, 8), epoch=4)
    assert not torch.equal(other["pixel_values"], wanted["pixel_values"])


def test_images_of_several_sizes(tmp_path: Path) -> None:
    """Held as squares: boxes are drawn for the sizes they have, so that a crop shows the same part, undistorted."""
    rng, paths = np.random.default_rng(0), []
    for number, (height, width) in enumerate([(60, 90), (120, 80), (64, 64)] * 3):
        # Smooth, as noise would be another picture at another size.
        small = Pictures.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        paths.append(str(tmp_path / f"{number}.png"))
        small.resize((width, height), Pictures.Resampling.BICUBIC).save(paths[-1])
    rows = Dataset.from_dict({"image": paths, "label": [0] * 9}).cast_column("image", Image())
    models = (preprocessing(48, 3), preprocessing(32, 3))
    size = held_size({(60, 90), (120, 80), (64, 64)}, models, Augmentation((0.35, 1.0)))
    assert size == (82, 82)
    wanted, held = both(rows, models, size)
    for name in ("pixel_values", "teacher_pixel_values"):
        apart = (wanted[name].float() - held[name].float()).abs()
        assert apart.mean() < 1.5 and apart.max() < 30


def test_size_that_images_are_held_at() -> None:
    """Their own where all have one that is of use; no more pixels than the smallest crop needs; never enlarged."""
    models, quarter = (preprocessing(20, 3), preprocessing(32, 3)), Augmentation((0.25, 1.0))
    assert held_size({(8, 8)}, models, quarter) == (8, 8)
    assert held_size({(64, 50)}, models, quarter) == (64, 50)
    assert held_size({(65, 50)}, models, quarter) == (64, 64)
    assert held_size({(20, 30), (40, 25)}, models, quarter) == (40, 40)


def test_a_batch_of_pixels_stays_as_it_is() -> None:
    """Of an evaluation, whose images are not held."""
    batch = {"pixel_values": torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "labels": torch.zeros(2)}
    assert HeldImages(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), preprocessing(4, 1), ())(batch) == batch
