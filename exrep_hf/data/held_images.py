"""Images of a small data set, decoded once and held where the models are: the loader gives rows and crops alone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from exrep_hf.data.augmentation import Augmentation, ViewTransform, largest
from exrep_hf.data.datasets import DistillationDataset, SeededDataset
from exrep_hf.data.pixels import STUDENT_PIXELS, teacher_pixels_name
from exrep_hf.data.preprocessing import Preprocessing
from exrep_hf.data.random_crops import random_crops
from exrep_hf.data.resampling import resized_crops

CROP = "crop"
"""The key of a batch that holds crops in place of pixels: whole numbers, which no backend casts to half precision."""


def most_pixels(transform: ViewTransform, augmentation: Augmentation) -> tuple[int, int]:
    """Return the height and width from which the smallest crop still has the pixels of the largest input."""
    part = math.sqrt(augmentation.scale[0])
    sides = largest((transform.student, *transform.teachers))
    return math.ceil(sides.height / part), math.ceil(sides.width / part)


class HeldImages:
    """All images of a data set on a device, as uint8, of which batches are cropped there.

    Images of one size that is not above `most_pixels` are held as they are; others are resized to one size, of at most
    that, and crops are drawn in pixels of the original.

    Args:
        dataset: rows of images, with a random transform without `auto_augment`.
        device: where they are held.

    Attributes:
        sizes: height and width of each image, in pixels `(images, 2)`.
        pixels: the images `(images, channels, height, width)`; one channel where all are grey.
        resized: whether they are held in another size than their own.

    Raises:
        ValueError: if an image cannot be decoded; names the row and the file.
    """

    def __init__(self, dataset: DistillationDataset, device: torch.device) -> None:
        transform = dataset.transform
        assert transform.augmentation is not None
        self._models: dict[str, Preprocessing] = {STUDENT_PIXELS: transform.student}
        for place, wanted in enumerate(transform.teachers):
            if wanted != transform.student:
                self._models[teacher_pixels_name(place, len(transform.teachers))] = wanted
        limit = most_pixels(transform, transform.augmentation)
        reference = largest((transform.student, *transform.teachers))
        images: list[Tensor] = []
        sizes: list[torch.Size] = []
        for row in tqdm(range(len(dataset)), desc="decoding", unit=" images", leave=False, disable=None):
            image = _without_copies(dataset.pixels(row))
            sizes.append(image.shape[-2:])
            # At once, so that photographs don't fill the memory: with one of these the limit is the common size.
            is_larger = all(own >= most for own, most in zip(sizes[-1], limit, strict=True))
            images.append(reference.resized_pixels(image, limit) if is_larger else image)
        self.sizes: NDArray[np.int64] = np.array(sizes, dtype=np.int64)
        height, width = (min(int(own), most) for own, most in zip(self.sizes.max(0), limit, strict=True))
        self.resized = bool((self.sizes != (height, width)).any())
        self.channels = len(transform.student.mean)
        channels = max(len(image) for image in images)
        self.pixels = torch.empty(len(images), channels, height, width, dtype=torch.uint8, device=device)
        for row in reversed(range(len(images))):
            image = images.pop()
            fits = image.shape[-2:] == (height, width)
            self.pixels[row] = image if fits else reference.resized_pixels(image, (height, width))
        self._part = torch.as_tensor((height, width) / self.sizes, dtype=torch.float32).repeat(1, 2).to(device)

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch with pixels in place of crops, each model's own size; one without crops as it is.

        Args:
            batch: with `sample_index` `(batch,)` and `crop` `(batch, 5)`, as `HeldRows` gives them.
        """
        made = {name: value for name, value in batch.items() if name != CROP}
        if CROP not in batch:
            return made
        rows, crop = batch["sample_index"], batch[CROP]
        chosen, boxes, flipped = self.pixels[rows], crop[:, :4] * self._part[rows], crop[:, 4] > 0
        cropped: dict[tuple[tuple[int, int], str], Tensor] = {}
        for name, wanted in self._models.items():
            kind = (wanted.height, wanted.width), wanted.interpolation
            if kind not in cropped:
                cropped[kind] = resized_crops(chosen, boxes, flipped, *kind).expand(-1, self.channels, -1, -1)
            made[name] = cropped[kind]
        return made


class HeldRows(torch.utils.data.Dataset):
    """What the loader gives of held images: whole batches of rows, labels and crops.

    Args:
        dataset: the training data set, whose rows, walks and seed are followed.
        augmentation: how images are cropped.
        sizes: of the images, in pixels `(images, 2)`.
        labels: of the images `(images,)`, int64; None: there are none.
    """

    def __init__(
        self, dataset: SeededDataset, augmentation: Augmentation, sizes: NDArray[np.int64], labels: Tensor | None
    ) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.sizes = sizes
        self.labels = labels

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Vary the crops with the epoch."""
        self.dataset.set_epoch(epoch)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a whole batch: `sample_index`, `crop` and, where there are any, `labels`."""
        rows, numbers = np.array(self.dataset.places(indices), dtype=np.int64).T
        crops = random_crops(self.dataset.seed, rows, numbers, self.sizes[rows], self.augmentation)
        batch = {"sample_index": torch.from_numpy(rows.copy()), CROP: torch.from_numpy(crops)}
        return batch if self.labels is None else batch | {"labels": self.labels[batch["sample_index"]]}


def whole_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what `HeldRows` gives as it is: the collator of batches that are whole already."""
    return batch


def _without_copies(image: Tensor) -> Tensor:
    """Return one channel of an image whose channels are the same."""
    return image[:1] if bool((image == image[:1]).all()) else image
