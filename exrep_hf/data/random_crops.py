"""Random crops of many images at once, by numbers that belong to each image: the same in any batch and process."""

import numpy as np
from numpy.typing import NDArray

from exrep_hf.data.augmentation import Augmentation

Whole = NDArray[np.int64]

_TRIES = 10
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_crops(seed: int, rows: Whole, numbers: Whole, sizes: Whole, augmentation: Augmentation) -> Whole:
    """Return a crop of each image and whether it is flipped, distributed as torchvision's `RandomResizedCrop` has it.

    Args:
        seed: of the run, ≥ 0.
        rows: of the images in their data set `(batch,)`.
        numbers: how often each was made before `(batch,)`.
        sizes: height and width of each image, in pixels `(batch, 2)`.
        augmentation: area, aspect ratio and flips.

    Returns:
        `(batch, 5)`: top, left, height and width in pixels of the image, and 1 where it is flipped, else 0.
    """
    drawn = uniform(seed, rows, numbers, 2 * _TRIES + 3)
    high, wide = sizes[:, :1], sizes[:, 1:]
    low, most = augmentation.scale
    area = high * wide * (low + (most - low) * drawn[:, :_TRIES])
    narrow, broad = np.log(augmentation.ratio)
    ratio = np.exp(narrow + (broad - narrow) * drawn[:, _TRIES : 2 * _TRIES])
    heights, widths = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
    fits = (heights > 0) & (heights <= high) & (widths > 0) & (widths <= wide)
    first = fits.argmax(1)[:, None]
    height, width = (np.take_along_axis(tried, first, 1)[:, 0] for tried in (heights, widths))
    top = np.floor(drawn[:, -3] * (sizes[:, 0] - height + 1))
    left = np.floor(drawn[:, -2] * (sizes[:, 1] - width + 1))
    flipped = drawn[:, -1] < augmentation.hflip
    crops = np.stack([top, left, height, width, flipped], 1).astype(np.int64)
    # Where none of the tries fits.
    crops[:, :4] = np.where(fits.any(1)[:, None], crops[:, :4], _central(sizes, augmentation.ratio))
    return crops


def _central(sizes: Whole, ratio: tuple[float, float]) -> Whole:
    """Return the largest central crops whose aspect ratio is allowed `(batch, 4)`."""
    high, wide = sizes[:, 0], sizes[:, 1]
    # As in torchvision: what is too narrow is cut in height, what is too wide in width.
    height = np.where(wide / high < ratio[0], np.rint(wide / ratio[0]), high).astype(np.int64)
    width = np.where(wide / high > ratio[1], np.rint(high * ratio[1]), wide).astype(np.int64)
    return np.stack([(high - height) // 2, (wide - width) // 2, height, width], 1)


def uniform(seed: int, rows: Whole, numbers: Whole, count: int) -> NDArray[np.float64]:
    """Return so many uniform numbers in [0, 1) for each image `(batch, count)`.

    They are SplitMix64's (Steele et al., OOPSLA 2014), which needs no state but a position.
    """
    state = _scrambled(np.full(len(rows), seed % 2**64, dtype=np.uint64) + _GOLDEN)
    for part in (numbers, rows):
        state = _scrambled((state ^ part.astype(np.uint64)) + _GOLDEN)
    positions = state[:, None] + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
    return (_scrambled(positions) >> np.uint64(11)) * 2.0**-53


def _scrambled(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
