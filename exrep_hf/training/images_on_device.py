"""Whether training images are held on the device, and what the loader gives then."""

import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.datasets import DistillationDataset, ReplayedDataset, SeededDataset
from exrep_hf.data.held_images import HeldImages, HeldRows, most_pixels
from exrep_hf.data.resampling import SUPPORT
from exrep_hf.training.default_settings import Chosen
from exrep_hf.training.inputs import training_labels

# Of a device's memory, for images that nobody asked to have there.
_PART_OF_MEMORY = 0.1
# Whose sizes stand for those of all.
_LOOKED_AT = 32


class OnDevice:
    """Training images on the device; they are decoded when a loader first asks for them.

    Args:
        dataset: the finished training data set.
        device: where the images are held.
    """

    def __init__(self, dataset: SeededDataset, device: torch.device) -> None:
        self._dataset = dataset
        self._device = device

    @cached_property
    def images(self) -> HeldImages:
        """Makes pixels of a batch's crops."""
        return HeldImages(self._dataset.dataset, self._device)

    @cached_property
    def rows(self) -> HeldRows:
        """What the loader walks through."""
        augmentation = self._dataset.dataset.transform.augmentation
        return HeldRows(self._dataset, augmentation, self.images.sizes, training_labels(self._dataset))


def hold_images(args: DistillationArguments, dataset: Any) -> tuple[OnDevice | None, Chosen]:
    """Hold training images on the device where that is asked for, or pays: on a GPU, below a tenth of its memory.

    Where it is asked for and can't be, as in one arm of a study, the reason is told.

    Args:
        args: settings, which are not changed.
        dataset: the finished training data set; None: nothing is trained.

    Returns:
        The images, or None; and settings that leave this open no more.
    """
    wanted, args = args.images_on_device, copy.copy(args)
    args.images_on_device = False
    if dataset is None or wanted is False or (wanted is None and args.device.type != "cuda"):
        return None, Chosen(args, ())
    if reason := _why_not(dataset):
        return None, Chosen(args, (f"`images_on_device` is left out: {reason}",) if wanted else ())
    taken = _bytes(dataset.dataset)
    if wanted is None and taken > _PART_OF_MEMORY * _memory(args.device):
        return None, Chosen(args, ())
    args.images_on_device = True
    told = f"{len(dataset.dataset)} training images are held on the device, about {taken / 2**20:.0f} MiB"
    return OnDevice(dataset, args.device), Chosen(args, (told,))


def _why_not(dataset: Any) -> str:
    """Return in words why images can't be held; empty where they can."""
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    if isinstance(dataset, ReplayedDataset):
        return "there are only some views of each image (`views`, or stored answers), which are made one by one"
    if not isinstance(dataset, SeededDataset) or not isinstance(inner, DistillationDataset):
        return f"`train_dataset` is a {type(inner).__name__}, whose items or order are its own"
    transform = inner.transform
    if inner.answer_columns:
        return f"the rows hold a teacher's answers ({', '.join(inner.answer_columns)})"
    if transform.augmentation is None:
        return "images are not varied (`no_aug`)"
    if transform.augmentation.auto_augment is not None:
        return f"`auto_augment` is {transform.augmentation.auto_augment!r}"
    if transform.normalised:
        return "`data_collator` is one of your own, which gets normalised images"
    models = (transform.student, *transform.teachers)
    if len({model.mode for model in models}) > 1:
        return "student and teacher want different channels"
    if unknown := sorted({model.interpolation for model in models} - SUPPORT.keys()):
        return f"the interpolation of a model is {unknown[0]!r}"
    return ""


def _bytes(dataset: DistillationDataset) -> float:
    """Return about how many bytes the images of a data set take."""
    rows = np.linspace(0, len(dataset) - 1, min(_LOOKED_AT, len(dataset))).astype(int).tolist()
    sizes = np.array([dataset.pixels(row).shape[-2:] for row in rows])
    augmentation = dataset.transform.augmentation
    assert augmentation is not None
    sides = np.minimum(sizes.max(0), most_pixels(dataset.transform, augmentation))
    return len(dataset) * len(dataset.transform.student.mean) * float(sides.prod())


def _memory(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory
