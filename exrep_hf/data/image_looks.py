"""The look at every image of a data set: shared between processes, and kept for the next start."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import PIL
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from exrep_hf.data.checks import ImageReport, inspect_images
from exrep_hf.files import write_bytes
from exrep_hf.main_process import cores_of_process, decided_by_main

logger = logging.getLogger(__name__)

Look = Literal["no", "sample", "all"]
"""Which images are looked at."""
SAMPLE = 256
"""So many images, from the first to the last, are a sample."""
# Of what a look finds; to be raised with each change of it.
_RULES = 1
_DIGEST = 16
# Below so many images a worker takes longer to start than it saves.
_PER_WORKER = 2000


def look_at_images(dataset: Dataset, image_column: str, look: Look, num_proc: int | None = None) -> ImageReport:
    """Decode the images of a data set, as many of them as are to be looked at; call it on all processes.

    All images of the same files are decoded once: each process takes a part of them, and what was found is kept in
    the `datasets` library's cache, under the size and time of change of each file (of images within a data set's own
    files: under its fingerprint). Those that could not be decoded are tried again.

    Args:
        dataset: a data set with an `Image` column.
        image_column: its name.
        look: which of them.
        num_proc: workers of each process; None: as many as there are cores for, if that is worth it.

    Returns:
        What was found, the same on all processes; digests only of all images.
    """
    if look == "no" or not len(dataset):
        return ImageReport([], [], len(dataset))
    if look == "sample":
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLE, len(dataset))).astype(int)).tolist()
        found = decided_by_main(lambda: inspect_images(dataset.select(rows), image_column))
        return ImageReport([(rows[place], reason) for place, reason in found.broken], [], len(dataset))
    place, report = decided_by_main(lambda: _recalled(dataset, image_column))
    if report is None:
        report = _looked_at_together(dataset, image_column, num_proc)
        if place is not None and PartialState().is_main_process:
            _keep(report, place)
    elif report.broken:
        report = _tried_again(report, dataset, image_column)
    return report


def _looked_at_together(dataset: Dataset, image_column: str, num_proc: int | None) -> ImageReport:
    """Look at all images, each process at its part of them."""
    state = PartialState()
    bounds = [len(dataset) * process // state.num_processes for process in range(state.num_processes + 1)]
    first, end = bounds[state.process_index : state.process_index + 2]
    mine = inspect_images(dataset.select(range(first, end)), image_column, num_proc or _workers(end - first))
    parts = gather_object([mine])
    broken = [(start + row, reason) for start, part in zip(bounds, parts, strict=False) for row, reason in part.broken]
    return ImageReport(broken, [digest for part in parts for digest in part.digests], len(dataset))


def _workers(images: int) -> int | None:
    """Return how many workers a process has for some images; None: none beside itself."""
    count = min(cores_of_process(), images // _PER_WORKER)
    return count if count > 1 else None


def _tried_again(report: ImageReport, dataset: Dataset, image_column: str) -> ImageReport:
    """Look once more at images that could not be decoded: a disk that was away may be there again."""
    rows = [row for row, _ in report.broken]
    found = decided_by_main(lambda: inspect_images(dataset.select(rows), image_column))
    digests = list(report.digests)
    for row, digest in zip(rows, found.digests, strict=True):
        digests[row] = digest
    return ImageReport([(rows[place], reason) for place, reason in found.broken], digests, report.count)


def _recalled(dataset: Dataset, image_column: str) -> tuple[Path | None, ImageReport | None]:
    """Return where a report is kept, if it can be, and the report, if it is there."""
    identity = _identity(dataset, image_column)
    if identity is None:
        return None, None
    place = Path(datasets.config.HF_DATASETS_CACHE) / "exrep_hf_images" / f"{identity}.safetensors"
    try:
        with safe_open(place, "np") as file:
            digests: Any = file.get_tensor("digests")
            broken = json.loads(file.metadata()["broken"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return place, None
    if digests.shape != (len(dataset), _DIGEST) or digests.dtype != np.uint8:
        return place, None
    held = digests.tobytes()
    found = [held[start : start + _DIGEST] for start in range(0, len(held), _DIGEST)]
    return place, ImageReport([(row, reason) for row, reason in broken], found, len(dataset))


def _keep(report: ImageReport, place: Path) -> None:
    held = b"".join(digest.ljust(_DIGEST, b"\0") for digest in report.digests)
    digests = np.frombuffer(held, np.uint8).reshape(-1, _DIGEST)
    try:
        write_bytes(save({"digests": digests}, {"broken": json.dumps(report.broken)}), place)
    except OSError as error:
        logger.warning("What the images are like can't be kept for the next start (%s); it looks again.", error)


def _identity(dataset: Dataset, image_column: str) -> str | None:
    """Return a name for the images as they lie on the disk now, which is another once a file changes.

    None where there is no such name: files can't be found, or images lie partly in files and partly in the data set.
    """
    digest = hashlib.blake2b(f"{_RULES} {PIL.__version__} {image_column}".encode(), digest_size=_DIGEST)
    stored = dataset.with_format(None).select_columns([image_column]).cast_column(image_column, Image(decode=False))
    # Without a look at their bytes.
    flat = stored.flatten()
    held = flat.data.column(f"{image_column}.bytes")
    if held.null_count not in (0, len(held)):
        return None
    try:
        if held.null_count == 0:
            digest.update(dataset._fingerprint.encode())
            files = [each["filename"] for each in dataset.cache_files]
        else:
            files = flat[f"{image_column}.path"][:]
        for path in files:
            facts = os.stat(path)
            digest.update(f"\0{path}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
    except (OSError, TypeError, ValueError):
        return None
    return digest.hexdigest()
