"""The one way to write a file: under its name there is all of it, or what was there before."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exrep_hf.finite import check_figures
from exrep_hf.untrusted import read_small_json


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it gets its own name when all is written and on the disk.

    Args:
        path: of a file, or of a folder that is not there yet.

    Raises:
        OSError: if the disk is full or `path` can't be written; nothing is left of the attempt.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    _remove(temporary)
    try:
        yield temporary
        for part in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
            sync(part)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    sync(path.parent)


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        NonFiniteError: if a figure is NaN or infinite, which JSON has no number for; naming the keys.
    """
    check_figures(content, f"`{path.name}`")
    write_bytes((json.dumps(content, indent=2, allow_nan=False) + "\n").encode(), path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, whoever wrote it; errors as of `read_small_json`."""
    return read_small_json(path)


def as_read_back(content: Any) -> Any:
    """Return content as it comes back from a JSON file: tuples as lists, keys as text."""
    return json.loads(json.dumps(content))


def checksum(path: Path) -> str:
    """Return a file's SHA-256, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
