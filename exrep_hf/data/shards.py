"""Tar archives of images in WebDataset's format, read by `datasets`."""

import glob
import itertools
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from datasets import DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError

from exrep_hf.data.folders import SPLIT_WORDS

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WORDS = re.compile("[a-z]+")


def shard_files(pattern: str) -> list[str]:
    """Return the files that a pattern names, in the order of the pattern, of `*` in that of their names.

    Args:
        pattern: a path with any of `{000..146}`, `{train,more}`, `*`.

    Raises:
        ValueError: if a range is none, or a file does not exist.
    """
    # The pieces between braces are as they are, the others all that they may be.
    pieces = _BRACES.split(os.path.expanduser(pattern))
    choices = [_choices(piece, pattern) if place % 2 else [piece] for place, piece in enumerate(pieces)]
    files = []
    for name in map("".join, itertools.product(*choices)):
        found = [name] if os.path.isfile(name) else sorted(glob.glob(name))
        if not found:
            raise ValueError(
                f"{pattern!r} names the file {name!r}, which does not exist; expected tar archives. Correct the "
                "pattern."
            )
        files += found
    return files


def _choices(braces: str, pattern: str) -> list[str]:
    if (ends := _RANGE.fullmatch(braces)) is None:
        return braces.split(",")
    first, last = int(ends[1]), int(ends[2])
    if last < first:
        raise ValueError(f"{pattern!r} has the range {{{braces}}}; expected the lower number first.")
    return [str(number).zfill(len(ends[1])) for number in range(first, last + 1)]


def shard_splits(files: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each split: by a word in their names, else in their folders', if each has one of several.

    Args:
        files: paths; `train-000.tar` and `val-000.tar`, or `train/000.tar` and `val/000.tar`, are two splits.
    """
    for names in ([Path(file).stem for file in files], [Path(file).parent.name for file in files]):
        found = [{SPLIT_WORDS[word] for word in _WORDS.findall(name.lower()) if word in SPLIT_WORDS} for name in names]
        if all(len(splits) == 1 for splits in found) and len(set.union(*found)) > 1:
            splits: dict[str, list[str]] = {}
            for file, (split,) in zip(files, found, strict=True):
                splits.setdefault(split, []).append(file)
            return splits
    return {"train": list(files)}


def load_shards(pattern: str) -> DatasetDict:
    """Load the images of tar archives as rows: files of one name are a row, `0.jpg` and `0.cls` image and label.

    Splits are those of `shard_splits`.

    Raises:
        ValueError: if a file does not exist or is no such archive.
    """
    splits = {
        split: [glob.escape(os.path.abspath(file)) for file in files]
        for split, files in shard_splits(shard_files(pattern)).items()
    }
    try:
        return load_dataset("webdataset", data_files=splits)
    except (DatasetGenerationError, OSError, ValueError, TypeError, tarfile.TarError, pa.ArrowException) as error:
        raise ValueError(
            f"{pattern!r} can't be read as tar archives in WebDataset's format ({error.__cause__ or error}); expected "
            "files of one name for each image, such as `0.jpg` and `0.cls`, one after another, in every archive."
        ) from error
