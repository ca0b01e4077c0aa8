"""Whether training images are held on the device, and the data set that is walked through then."""

import copy
import io
from collections.abc import Mapping
from typing import Any

import PIL.Image
import torch

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.augmentation import ViewTransform
from exrep_hf.data.datasets import DistillationDataset, ReplayedDataset, SeededDataset
from exrep_hf.data.held_images import DrawnCrops, HeldImages, held_size, largest_of_use, read_held
from exrep_hf.data.resampling import KERNELS
from exrep_hf.training.default_settings import Chosen

SHARE_OF_MEMORY = 0.1
"""Of a GPU, that images may take without being asked to."""


def choose_holding(args: DistillationArguments, dataset: Any, items_are_final: bool) -> Chosen:
    """Decide whether training images are held on the device, where nothing is given.

    They are on a GPU, of whose memory they take less than a tenth. Where it is asked for and can't be, as in one arm
    of a study, it is told why.

    Args:
        args: settings, which are not changed.
        dataset: the finished training data set.
        items_are_final: whether no collator of the user's makes something else of items.
    """
    args, asked = copy.copy(args), args.images_on_device
    reason = _reason_against(dataset, items_are_final)
    args.images_on_device = bool(asked) and reason is None
    if asked and reason is not None and dataset is not None:
        return Chosen(args, (f"`images_on_device` is left out: {reason}",))
    if asked is not None or reason is not None or args.device.type != "cuda":
        return Chosen(args, ())
    memory = torch.cuda.get_device_properties(args.device).total_memory
    taken = most_bytes(dataset)
    args.images_on_device = taken < SHARE_OF_MEMORY * memory
    told = f"training images are held on the GPU ({taken / 1e9:.2f} GB or less), as they take less than a tenth of it"
    return Chosen(args, (told,) if args.images_on_device else ())


def _reason_against(dataset: Any, items_are_final: bool) -> str | None:
    """Return why images can't be held; None where they can."""
    if not isinstance(dataset, SeededDataset) or not isinstance(dataset.dataset, DistillationDataset):
        return "the training data are no rows of one HF data set with an image column"
    if isinstance(dataset, ReplayedDataset):
        return "there are fixed `views` of each image, which are made as they are stored"
    if not items_are_final:
        return "a collator of your own makes the batches"
    inner = dataset.dataset
    if inner.answer_columns:
        return "the data set has columns of a teacher's answers"
    models, how = _models(inner.transform), inner.transform.augmentation
    if how is None or how.auto_augment is not None:
        return "images are not varied by random crops and flips alone (`no_aug`, `auto_augment`)"
    if len({model.mode for model in models}) > 1:
        return "one of the models wants grey images, the other colours"
    if unknown := sorted({model.interpolation for model in models} - KERNELS.keys()):
        return f"a model wants its images resized by {unknown[0]!r}"
    return None


def _models(transform: ViewTransform) -> tuple[Any, ...]:
    return (transform.student, *transform.teachers)


def most_bytes(dataset: SeededDataset) -> int:
    """Return the bytes that images of a data set take at most, before any of them is looked at."""
    transform = dataset.dataset.transform
    side = largest_of_use(_models(transform), transform.augmentation)
    return len(dataset.dataset) * len(transform.student.mean) * side * side


def hold(dataset: SeededDataset, args: DistillationArguments) -> tuple[SeededDataset, HeldImages]:
    """Decode all images of a training data set, and put them on the device.

    Returns:
        The data set that a loader walks through then: in the same order, by the same draws and epochs, of boxes in
        the place of pixels; and the images.
    """
    inner: DistillationDataset = dataset.dataset
    transform = inner.transform
    assert transform.augmentation is not None
    size = held_size(_stored_sizes(inner), _models(transform), transform.augmentation)
    pixels, sizes = read_held(inner, size, args.dataloader_num_workers or 0, args.device)
    drawn = copy.copy(dataset)
    drawn.dataset = DrawnCrops(inner, sizes, transform.augmentation)
    return drawn, HeldImages(pixels, transform.student, transform.teachers)


def _stored_sizes(dataset: DistillationDataset) -> set[tuple[int, int]]:
    """Return height and width of all images, by their headers; those that say none are left to be decoded."""
    found: set[tuple[int, int]] = set()
    for stored in dataset.stored_images():
        try:
            with PIL.Image.open(_source(stored or {})) as image:
                found.add((image.height, image.width))
        except (OSError, SyntaxError, ValueError, AttributeError):
            continue
    return found or {(1, 1)}


def _source(stored: Mapping[str, Any]) -> Any:
    return stored.get("path") if stored.get("bytes") is None else io.BytesIO(stored["bytes"])
