"""Folders of generated images for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_noise(
    folder: Path, parts: Sequence[str], classes: Sequence[str], count: int, size: tuple[int, int] = (40, 48)
) -> None:
    """Write JPEGs of noise, a sub-folder a class in each part.

    Args:
        folder: that holds the parts.
        parts: such as `train` and `test`.
        classes: names of the sub-folders.
        count: images a class and part.
        size: height and width in pixels.
    """
    rng = np.random.default_rng(0)
    for part in parts:
        for name in classes:
            where = folder / part / name
            where.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(where / f"{number}.jpg")
