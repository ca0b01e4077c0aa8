"""Whether training images are held on the device, and what the loader gives then."""

import copy
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OnDevice:
    """Training images on the device.

    Attributes:
        images: makes pixels of a batch's crops.
        rows: what the loader walks through.
    """

    images: HeldImages
    rows: HeldRows


def hold_images(args: DistillationArguments, dataset: Any) -> tuple[OnDevice | None, Chosen]:
    """Hold training images on the device where that is asked for, or pays: on a GPU, below a tenth of its memory.

    Args:
        args: settings, which are not changed.
        dataset: the finished training data set.

    Returns:
        The images, or None; and settings that leave this open no more.

    Raises:
        ValueError: if it is asked for and can't be.
    """
    wanted, args = args.images_on_device, copy.copy(args)
    args.images_on_device = False
    if wanted is False or (wanted is None and args.device.type != "cuda"):
        return None, Chosen(args, ())
    reason = _why_not(dataset)
    if wanted and reason:
        raise ValueError(
            f"`images_on_device` is True, and {reason}; expected an HF `Dataset` of images with random crops and "
            "flips alone. Leave the setting out, or set it to False."
        )
    if reason or (wanted is None and _bytes(dataset.dataset) > _PART_OF_MEMORY * _memory(args.device)):
        return None, Chosen(args, ())
    inner: DistillationDataset = dataset.dataset
    augmentation = inner.transform.augmentation
    assert augmentation is not None
    images = HeldImages(inner, args.device)
    args.images_on_device = True
    if args.dataloader_num_workers is None:
        # Nothing is left for them to do.
        args.dataloader_num_workers = 0
    height, width = images.pixels.shape[-2:]
    told = f"{len(images.pixels)} images on the device, {height}x{width}, {images.pixels.nbytes / 2**20:.1f} MiB"
    told += ": resized to that once" if images.resized else ""
    return OnDevice(images, HeldRows(dataset, augmentation, images.sizes, training_labels(dataset))), Chosen(
        args, (told,)
    )


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
