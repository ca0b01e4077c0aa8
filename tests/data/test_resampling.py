"""Crops of many images at once, against torchvision's one by one and against sums written out."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from exrep_hf.data.resampling import KERNELS, resized_crops

BOXES = [(0, 0, 40, 30), (3, 5, 20, 11), (10, 2, 1, 1), (20, 9, 17, 21), (0, 29, 40, 1)]
"""Top, left, height and width in pixels of an image of 40 x 30; the last two touch its edges."""


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 30), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", sorted(KERNELS))
@pytest.mark.parametrize("size", [(56, 48), (8, 5), (17, 33)])
def test_crops_are_those_of_torchvision(image: torch.Tensor, interpolation: str, size: tuple[int, int]) -> None:
    """Noise, larger and smaller, each crop mirrored in its turn: within a level of 255, and few that differ."""
    boxes = torch.tensor([(top / 40, left / 30, height / 40, width / 30) for top, left, height, width in BOXES])
    flipped = torch.tensor([False, True, False, True, True])
    made = resized_crops(image.expand(len(BOXES), -1, -1, -1), boxes, flipped, *size, interpolation)
    assert made.dtype == torch.uint8 and made.shape == (len(BOXES), 3, *size)
    for (top, left, height, width), flip, crop in zip(BOXES, flipped, made, strict=True):
        part = image[:, top : top + height, left : left + width]
        part = part.flip(-1) if flip else part
        expected = F.resize(part, list(size), InterpolationMode(interpolation), antialias=True)
        apart = (crop.int() - expected.int()).abs()
        assert apart.max() <= 1 and apart.float().mean() < 0.1


def test_weights_by_hand() -> None:
    """Halving [0, 100, 200, 50] by a triangle of double width: (3·0 + 3·100 + 1·200) / 7, and the mirror of it."""
    image = torch.tensor([0, 100, 200, 50], dtype=torch.uint8).view(1, 1, 1, 4)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    expected = [round((3 * 0 + 3 * 100 + 1 * 200) / 7), round((1 * 100 + 3 * 200 + 3 * 50) / 7)]
    for flip, values in ((False, expected), (True, expected[::-1])):
        made = resized_crops(image, whole, torch.tensor([flip]), 1, 2, "bilinear")
        assert made.flatten().tolist() == values


def test_nothing_beyond_a_crop_is_seen(image: torch.Tensor) -> None:
    """As with a crop that is cut out first: what lies beside it has no part in it."""
    other = image.clone()
    other[:, :10] = 255 - other[:, :10]
    box, flipped = torch.tensor([[10 / 40, 0.0, 10 / 40, 1.0]]), torch.tensor([False])
    crops = [resized_crops(each[None], box, flipped, 32, 32, "bicubic") for each in (image, other)]
    assert torch.equal(*crops)
