"""Crops resized many at once, beside the ordinary path, one by one."""

import pytest
import torch

from exrep_hf.data.preprocessing import Preprocessing
from exrep_hf.data.resampling import resized_crops


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(8, 12), (32, 32), (90, 70)])
def test_each_crop_is_the_ordinary_one_to_two_levels(interpolation: str, size: tuple[int, int]) -> None:
    """Prevents aliasing, shifted grids and mirrored crops; noise is the hardest image."""
    images = torch.randint(0, 256, (6, 3, 40, 50), dtype=torch.uint8)
    boxes = torch.tensor(
        [[0, 0, 40, 50], [5, 7, 30, 20], [39, 49, 1, 1], [2, 40, 16, 10], [3, 3, 9, 31], [0, 9, 32, 32]]
    )
    flipped = torch.tensor([False, True] * 3)
    made = resized_crops(images, boxes, flipped, size, interpolation)
    model = Preprocessing(*size, None, interpolation, (0.5,) * 3, (0.5,) * 3)
    for image, box, flip, each in zip(images, boxes.tolist(), flipped, made, strict=True):
        top, left, height, width = box
        view = image[:, top : top + height, left : left + width]
        wanted = model.squeezed_pixels(view.flip(-1) if flip else view)
        apart = (each.int() - wanted.int()).abs()
        assert apart.max() <= 2 and apart.float().mean() < 0.25


def test_a_box_of_fractions_takes_nothing_from_far_outside() -> None:
    images = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    images[:, :, 4:9, 4:9] = 200
    made = resized_crops(images, torch.tensor([[4.3, 4.3, 4.2, 4.2]]), torch.tensor([True]), (16, 16), "bicubic")
    assert (made == 200).all()
