"""What is looked at in a data set before training starts: its images, items and labels."""

import hashlib
import io
import logging
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
from datasets import Dataset, Image
from torch import Tensor
from torch.utils.data import IterableDataset

from exrep_hf.data.decoding import why_not_decoded
from exrep_hf.data.labels import MISSING, is_missing
from exrep_hf.data.preprocessing import has_wide_pixels
from exrep_hf.data.rows import is_number

logger = logging.getLogger(__name__)

NAMED_ROWS = 5
"""How many broken rows a message names."""


@dataclass
class ImageReport:
    """What a look at every image of a data set found.

    Attributes:
        broken: (row, reason with the file's path if known) of each image that cannot be decoded, in the order of rows.
        digests: hash of the stored bytes of every image; none where not all were looked at.
        count: number of images.
    """

    broken: list[tuple[int, str]]
    digests: list[bytes]
    count: int


def inspect_images(dataset: Dataset, image_column: str, num_proc: int | None = None) -> ImageReport:
    """Read and decode every image once, with a progress bar.

    Args:
        dataset: a data set with an `Image` column.
        image_column: its name.
        num_proc: number of processes; `None`: this one.
    """
    if not len(dataset):
        return ImageReport([], [], 0)
    stored = dataset.with_format(None).select_columns([image_column]).cast_column(image_column, Image(decode=False))
    # Never from datasets' cache: files behind stored paths may have changed since.
    checked = stored.map(
        _looked_at,
        fn_kwargs={"image_column": image_column},
        batched=True,
        remove_columns=[image_column],
        load_from_cache_file=False,
        keep_in_memory=True,
        num_proc=num_proc,
        desc="Checking images",
    )
    broken = [(row, reason) for row, reason in enumerate(checked["reason"]) if reason]
    return ImageReport(broken, checked["digest"][:], len(dataset))


def find_broken_images(dataset: Dataset, image_column: str, num_proc: int | None = None) -> list[tuple[int, str]]:
    """Return row and reason of each image that cannot be decoded; arguments as in `inspect_images`."""
    return inspect_images(dataset, image_column, num_proc).broken


def check_images(
    dataset: Dataset, image_column: str, skip_broken: bool = False, num_proc: int | None = None
) -> tuple[Dataset, int]:
    """Make sure that every image can be decoded.

    Args:
        dataset: a data set with an `Image` column.
        image_column: its name.
        skip_broken: leave broken images out, and log how many, instead of raising.
        num_proc: number of processes; `None`: this one.

    Returns:
        the data set without broken images, and how many were left out.

    Raises:
        ValueError: naming the first broken rows; or if no image is left.
    """
    report = inspect_images(dataset, image_column, num_proc)
    rows = whole_rows(report, skip_broken)
    return (dataset.select(rows) if report.broken else dataset), len(report.broken)


def whole_rows(report: ImageReport, skip_broken: bool) -> list[int]:
    """Return the rows whose images can be decoded; arguments and errors as in `check_images`."""
    broken, count = report.broken, report.count
    if not broken:
        return list(range(count))
    named = "; ".join(f"row {row}: {reason}" for row, reason in broken[:NAMED_ROWS])
    found = f"{len(broken)} of {count} images cannot be decoded ({named}{'; ...' * (len(broken) > NAMED_ROWS)})"
    if not skip_broken:
        raise ValueError(f"{found}. Replace them, or leave such rows out with --skip_broken_images.")
    if len(broken) == count:
        raise ValueError(f"{found}: no image is left to train on.")
    logger.warning("Left out: %s.", found)
    left_out = {row for row, _ in broken}
    return [row for row in range(count) if row not in left_out]


def _looked_at(batch: dict[str, list[Any]], image_column: str) -> dict[str, list[Any]]:
    """Return the hash of each image of a batch, and why it cannot be decoded, or an empty text."""
    looks = [_look(stored) for stored in batch[image_column]]
    return {"reason": [reason for reason, _ in looks], "digest": [digest for _, digest in looks]}


def _look(stored: dict[str, Any] | None) -> tuple[str, bytes]:
    if stored is None or (stored["bytes"] is None and stored["path"] is None):
        return "there is no image", b""
    try:
        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
    except OSError as error:
        return f"{stored['path']}: {error}", b""
    reason = _reason(content)
    if reason and stored["path"]:
        reason = f"{stored['path']}: {reason}"
    return reason, hashlib.blake2b(content, digest_size=16).digest()


def _reason(content: bytes) -> str:
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            # JPEGs are decoded at an eighth of their size: all bytes are still read, in a fraction of the time.
            image.draft(image.mode, (1, 1))
            image.load()
            image.getexif()
            if has_wide_pixels(image):
                raise ValueError(f"mode {image.mode!r} has more than 8 bits a channel")
    except Exception as error:  # Pillow's decoders raise almost anything on broken files
        return why_not_decoded(error) or type(error).__name__
    return ""


def check_items(
    dataset: Any,
    needed: Sequence[str],
    num_labels: int,
    name: str = "train_dataset",
    may_lack_labels: bool = True,
) -> None:
    """Make sure that the first and last item of a data set hold what the loss needs.

    A look at two items finds a wrong format at once; it can't find a single bad row of a data set that only yields
    its items one by one.

    Args:
        dataset: a map-style data set; anything else is left to the first step.
        needed: keys that items have to hold, beside `pixel_values`.
        num_labels: the model's number of classes.
        name: what messages call the data set.
        may_lack_labels: whether a label may be None or -1, for none.

    Raises:
        ValueError: if the data set is empty, an item is no dict or lacks a key, a label is outside the classes, or a
            needed `sample_index` is outside the data set.
    """
    if not is_map_style(dataset):
        return
    length = len(dataset)
    if length == 0:
        raise ValueError(f"`{name}` is empty; expected at least one image.")
    for row in sorted({0, length - 1}):
        item = dataset[row]
        if not isinstance(item, Mapping):
            raise ValueError(
                f"Row {row} of `{name}` is a {type(item).__name__}; expected a dict with `pixel_values`. Return such "
                "dicts from `__getitem__`, or pass an HF `Dataset` with image and label columns."
            )
        keys = {"labels" if key == "label" else key for key in item}
        missing = [key for key in ("pixel_values", *needed) if key not in keys]
        if missing:
            raise ValueError(
                f"Row {row} of `{name}` has no {missing}, only {sorted(item)}. Let its items hold them, pass an HF "
                "`Dataset` with image and label columns, or set the weights of the terms that need them to 0."
            )
        if "labels" in keys:
            label = item["labels"] if "labels" in item else item["label"]
            if not (may_lack_labels and (label is None or is_number(label, MISSING))):
                _check_number(label, f"The label of row {row} of `{name}`", num_labels, "the student's classes")
        if "sample_index" in needed:
            what = f"The `sample_index` of row {row} of `{name}`"
            _check_number(item["sample_index"], what, length, f"positions in {length} images (`num_samples`)")


def is_map_style(dataset: Any) -> bool:
    """Return whether rows can be asked for by number, as opposed to an iterable data set, or none at all."""
    # torch's iterable data sets inherit a `__getitem__` that only raises.
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def _check_number(value: Any, what: str, count: int, meaning: str) -> None:
    expected = f"expected an integer from 0 to {count - 1}: {meaning}."
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{what} is {value!r}; {expected}") from error
    if not 0 <= number < count:
        raise ValueError(f"{what} is {number}; {expected}")


def check_labels(dataset: Dataset, label_column: str, num_labels: int, may_be_missing: bool = False) -> None:
    """Make sure that every label is a class of the model.

    Args:
        dataset: a data set.
        label_column: its column with labels.
        num_labels: the model's number of classes.
        may_be_missing: whether labels that are None or below 0 are let pass.

    Raises:
        ValueError: naming the first row whose label is missing, not an integer, or outside 0 ... num_labels - 1.
    """
    for row, label in enumerate(dataset.with_format(None)[label_column][:]):
        if may_be_missing and is_missing(label):
            continue
        if not isinstance(label, int) or not 0 <= label < num_labels:
            names = f"Number them with dataset.class_encode_column({label_column!r})"
            remedy = names if isinstance(label, str) else "Correct the data set"
            raise ValueError(
                f"The label in row {row}, column {label_column!r}, is {label!r}; expected an integer from 0 to "
                f"{num_labels - 1}, as the model has {num_labels} classes. {remedy}, or use a model with as many "
                "classes as the data set."
            )


def check_label_batch(labels: Tensor, num_labels: int) -> None:
    """Make sure that the labels `(batch,)` of a batch are classes, or -1 where there is none.

    Only on the CPU: other devices would have to wait.

    Raises:
        ValueError: if one is outside -1 ... num_labels - 1.
    """
    if labels.device.type != "cpu":
        return
    low, high = int(labels.min()), int(labels.max())
    if not MISSING <= low <= high < num_labels:
        raise ValueError(
            f"Labels of a batch range from {low} to {high}; expected 0 to {num_labels - 1}, the student's classes, or "
            f"{MISSING} for images without one. Correct the data set."
        )
