"""Images that are decoded once and held on a device, where crops are made of them: batches hold boxes alone."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from exrep_hf.data.augmentation import Augmentation, largest
from exrep_hf.data.collator import KEYS
from exrep_hf.data.datasets import DistillationDataset
from exrep_hf.data.pixels import STUDENT_PIXELS, teacher_pixels_name
from exrep_hf.data.preprocessing import Preprocessing
from exrep_hf.data.resampling import resized_crops

CROP = "crop"
"""What a batch holds in the place of pixels: top, left, height, width (shares of the image), and 1 for a flip."""
_BATCH = 256


class HeldImages:
    """All images of a data set, on a device.

    Args:
        pixels: uint8 `(images, channels, rows, columns)`.
        student: how the student wants its images.
        teachers: how the teacher wants each of its sets of pixels.
    """

    def __init__(self, pixels: Tensor, student: Preprocessing, teachers: Sequence[Preprocessing]) -> None:
        self.pixels = pixels
        names = [teacher_pixels_name(place, len(teachers)) for place in range(len(teachers))]
        self._wanted = {STUDENT_PIXELS: student}
        # Where a teacher wants the same, the student's pixels serve both.
        self._wanted |= {name: each for name, each in zip(names, teachers, strict=True) if each != student}

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch whose crops are made, uint8 as a loader would give them; another one as it is.

        Args:
            batch: on the device, with `sample_index` `(batch,)` and `crop` `(batch, 5)`.
        """
        batch = dict(batch)
        crop = batch.pop(CROP, None)
        if crop is None:
            return batch
        images = self.pixels[batch["sample_index"]]
        made: dict[tuple[Any, ...], Tensor] = {}
        for name, wanted in self._wanted.items():
            shape = (wanted.height, wanted.width, wanted.interpolation)
            if shape not in made:
                made[shape] = resized_crops(images, crop[:, :4], crop[:, 4] > 0, *shape)
            batch[name] = made[shape]
        return batch


class DrawnCrops(torch.utils.data.Dataset):
    """Items of held images: labels, and the box of a random crop, by the same draws as the crop itself is made by.

    Args:
        dataset: of the images.
        sizes: height and width of each image as it is stored.
        augmentation: how they are varied.
    """

    def __init__(
        self, dataset: DistillationDataset, sizes: Sequence[tuple[int, int]], augmentation: Augmentation
    ) -> None:
        self.labels = dataset.labels
        self.sizes = sizes
        self.augmentation = augmentation
        # What a box is drawn for has a size, and no pixels.
        self._blanks = {size: torch.empty(()).expand(1, *size) for size in set(sizes)}

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return a row's item, drawn by torch's global generator."""
        rows, columns = self.sizes[row]
        how = self.augmentation
        box = RandomResizedCrop.get_params(self._blanks[self.sizes[row]], how.scale, how.ratio)
        flip = torch.rand(()).item() < how.hflip
        top, left, height, width = box
        item = {CROP: (top / rows, left / columns, height / rows, width / columns, float(flip)), "sample_index": row}
        return item if self.labels is None else item | {"labels": self.labels[row]}


def collate_crops(items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the batch of some items of `DrawnCrops`."""
    names = (CROP, *(name for name in KEYS if name in items[0]))
    return {name: torch.tensor([item[name] for item in items]) for name in names}


class _Whole:
    """Makes of an image its pixels, at one size for all, and its own size."""

    takes_pixels = False

    def __init__(self, models: Sequence[Preprocessing], size: tuple[int, int]) -> None:
        self.student = models[0]
        self.takes_pixels = self.student.mode == "RGB"
        self.size = size

    def __call__(self, image: Image.Image | Tensor) -> dict[str, Any]:
        pixels = self.student.pixels(image)
        own = (pixels.shape[-2], pixels.shape[-1])
        if own != self.size:
            pixels = F.resize(pixels, list(self.size), antialias=True)
        return {STUDENT_PIXELS: pixels, "size": own}


def held_size(
    sizes: set[tuple[int, int]], models: Sequence[Preprocessing], augmentation: Augmentation
) -> tuple[int, int]:
    """Return height and width that images are held at.

    Args:
        sizes: height and width of all of them.
        models: student and teachers.
        augmentation: how they are varied.

    Returns:
        Their own where all have the same and it is no larger than what is of use; else a square, of which the
        smallest crop has as many pixels as the largest input, and that is no larger than the largest image.
    """
    of_use = largest_of_use(models, augmentation)
    if len(sizes) == 1 and max(next(iter(sizes))) <= of_use:
        return next(iter(sizes))
    side = min(of_use, max(max(size) for size in sizes))
    return (side, side)


def largest_of_use(models: Sequence[Preprocessing], augmentation: Augmentation) -> int:
    """Return the side of a square of which the smallest crop is still as large as the largest input."""
    wanted = largest(models)
    return math.ceil(max(wanted.height, wanted.width) / math.sqrt(augmentation.scale[0]))


def read_held(
    dataset: DistillationDataset, size: tuple[int, int], num_workers: int, device: torch.device
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Decode all images of a data set.

    Args:
        dataset: its transform says in which channels the models want them.
        size: height and width to hold them at.
        num_workers: that decode.
        device: to hold them on.

    Returns:
        Pixels, uint8 `(images, channels, height, width)`, and each image's own height and width.

    Raises:
        ValueError: for an image that can't be decoded, naming its row.
    """
    whole = copy.copy(dataset)
    whole.transform = _Whole((dataset.transform.student,), size)  # type: ignore[assignment]
    loader = DataLoader(whole, _BATCH, collate_fn=list, num_workers=num_workers)
    pixels = torch.empty(len(whole), len(dataset.transform.student.mean), *size, dtype=torch.uint8)
    sizes: list[tuple[int, int]] = []
    for items in loader:
        pixels[len(sizes) : len(sizes) + len(items)] = torch.stack([item[STUDENT_PIXELS] for item in items])
        sizes += [item["size"] for item in items]
    return pixels.to(device), sizes
