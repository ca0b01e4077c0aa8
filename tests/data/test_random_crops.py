"""Crops of many images at once, beside torchvision's one by one."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from exrep_hf.data import Augmentation
from exrep_hf.data.random_crops import random_crops, uniform

COUNT = 4000
ROWS, ONCE = np.arange(COUNT), np.zeros(COUNT, dtype=np.int64)


@pytest.mark.parametrize("size", [(28, 28), (60, 90), (20, 90)])
def test_crops_are_distributed_as_torchvision_s(size: tuple[int, int]) -> None:
    """Prevents another training distribution; (20, 90) often ends in the central crop."""
    augmentation = Augmentation(hflip=0.3)
    crops = random_crops(1, ROWS, ONCE, np.array([size] * COUNT), augmentation)
    image = torch.zeros(3, *size)
    usual = np.array(
        [RandomResizedCrop.get_params(image, augmentation.scale, augmentation.ratio) for _ in range(COUNT)]
    )
    deciles = np.linspace(0, 100, 11)
    for place in range(4):
        own, other = np.percentile(crops[:, place], deciles), np.percentile(usual[:, place], deciles)
        assert np.abs(own - other).max() <= 0.04 * max(size), f"{place}: {own} {other}"
    assert crops[:, 4].mean() == pytest.approx(0.3, abs=0.03)
    assert (crops[:, :2] >= 0).all() and (crops[:, :2] + crops[:, 2:4] <= size).all()


def test_numbers_are_uniform_and_each_image_s_own() -> None:
    drawn = uniform(3, ROWS, ONCE, 4)
    assert np.histogram(drawn, 10, (0, 1))[0] / drawn.size == pytest.approx(np.full(10, 0.1), abs=0.01)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
    # In whatever batch, and other ones in other walks and runs.
    assert np.array_equal(uniform(3, ROWS[[7, 2]], ONCE[:2], 4), drawn[[7, 2]])
    assert not np.isclose(uniform(3, ROWS, ONCE + 1, 4), drawn).any(1).all()
    assert len(np.unique(np.concatenate([drawn, uniform(4, ROWS, ONCE, 4)])[:, 0])) == 2 * COUNT
