"""Finding images that cannot be decoded, before training meets them."""

import io
import logging
from typing import Any

import PIL.Image
from datasets import Dataset, Image

from exrep_hf.data.preprocessing import has_wide_pixels

logger = logging.getLogger(__name__)

NAMED_ROWS = 5
"""How many broken rows a message names."""


def find_broken_images(dataset: Dataset, image_column: str, num_proc: int | None = None) -> list[tuple[int, str]]:
    """Decodes every image once, with a progress bar.

    Args:
        dataset: a data set with an `Image` column.
        image_column: its name.
        num_proc: number of processes; `None`: this one.

    Returns:
        (row, reason with the file's path if known) of each image that cannot be decoded, in the order of rows.
    """
    stored = dataset.with_format(None).select_columns([image_column]).cast_column(image_column, Image(decode=False))
    # Never from datasets' cache: files behind stored paths may have changed since.
    checked = stored.map(
        _reasons,
        fn_kwargs={"image_column": image_column},
        batched=True,
        remove_columns=[image_column],
        load_from_cache_file=False,
        keep_in_memory=True,
        num_proc=num_proc,
        desc="Checking images",
    )
    return [(row, reason) for row, reason in enumerate(checked["reason"]) if reason]


def check_images(
    dataset: Dataset, image_column: str, skip_broken: bool = False, num_proc: int | None = None
) -> tuple[Dataset, int]:
    """Makes sure that every image can be decoded.

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
    broken = find_broken_images(dataset, image_column, num_proc)
    if not broken:
        return dataset, 0
    named = "; ".join(f"row {row}: {reason}" for row, reason in broken[:NAMED_ROWS])
    found = f"{len(broken)} of {len(dataset)} images cannot be decoded ({named}{'; ...' * (len(broken) > NAMED_ROWS)})"
    if not skip_broken:
        raise ValueError(f"{found}. Replace them, or leave such rows out with --skip_broken_images.")
    if len(broken) == len(dataset):
        raise ValueError(f"{found}: no image is left to train on.")
    logger.warning("Left out: %s.", found)
    rows = {row for row, _ in broken}
    return dataset.select([row for row in range(len(dataset)) if row not in rows]), len(broken)


def _reasons(batch: dict[str, list[Any]], image_column: str) -> dict[str, list[str]]:
    """Returns why each image of a batch cannot be decoded, or an empty text."""
    return {"reason": [_reason(stored) for stored in batch[image_column]]}


def _reason(stored: dict[str, Any] | None) -> str:
    if stored is None or (stored["bytes"] is None and stored["path"] is None):
        return "there is no image"
    source = io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]
    try:
        with PIL.Image.open(source) as image:
            # JPEGs are decoded at an eighth of their size: all bytes are still read, in a fraction of the time.
            image.draft(image.mode, (1, 1))
            image.load()
            image.getexif()
            if has_wide_pixels(image):
                raise ValueError(f"mode {image.mode!r} has more than 8 bits a channel")
    except Exception as error:  # Pillow's decoders raise almost anything on broken files
        return f"{stored['path']}: {error}" if stored["path"] else str(error) or type(error).__name__
    return ""
