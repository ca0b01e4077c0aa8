"""Crops resized many at once, beside Pillow."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from exrep_hf.data.preprocessing import RESAMPLING
from exrep_hf.data.resampling import resized_crops


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(8, 12), (32, 32), (90, 70)])
def test_each_crop_is_pillow_s_to_two_levels(interpolation: str, size: tuple[int, int]) -> None:
    """Prevents aliasing, shifted grids and mirrored crops; noise is the hardest image."""
    images = torch.randint(0, 256, (6, 3, 40, 50), dtype=torch.uint8)
    boxes = torch.tensor(
        [[0, 0, 40, 50], [5, 7, 30, 20], [39, 49, 1, 1], [2, 40, 16, 10], [3, 3, 9, 31], [0, 9, 32, 32]]
    )
    flipped = torch.tensor([False, True] * 3)
    made = resized_crops(images, boxes, flipped, size, interpolation)
    for image, box, flip, each in zip(images, boxes.tolist(), flipped, made, strict=True):
        top, left, height, width = box
        view = to_pil_image(image).crop((left, top, left + width, top + height))
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view
        wanted = pil_to_tensor(view.resize((size[1], size[0]), RESAMPLING[interpolation]))
        apart = (each.int() - wanted.int()).abs()
        assert apart.max() <= 2 and apart.float().mean() < 0.12


def test_a_box_of_fractions_takes_nothing_from_far_outside() -> None:
    images = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    images[:, :, 4:9, 4:9] = 200
    made = resized_crops(images, torch.tensor([[4.3, 4.3, 4.2, 4.2]]), torch.tensor([True]), (16, 16), "bicubic")
    assert (made == 200).all()
