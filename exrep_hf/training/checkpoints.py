"""Which checkpoints are whole, and of which run they are."""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from exrep_hf.files import as_read_back, checksum, sync, write_json
from exrep_hf.finite import check_files

logger = logging.getLogger(__name__)

MANIFEST_NAME = "checkpoint_manifest.json"
"""Written last: a checkpoint without it was not finished."""

_FOLDER = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def write_manifest(checkpoint: Path, run: dict[str, Any]) -> None:
    """Declare a checkpoint whole, when all processes have written their parts of it.

    Everything is on the disk before the manifest, with a checksum of each file, appears under its name.

    Args:
        checkpoint: its folder.
        run: facts about the run, of JSON types, that a run which resumes from it has to share.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    for path in files:
        sync(path)
    names = {path.relative_to(checkpoint).as_posix(): path for path in files}
    content = {"run": run, "files": {name: path.stat().st_size for name, path in names.items()}}
    checksums = {name: checksum(path) for name, path in names.items()} | {MANIFEST_NAME: _checksum_of(content)}
    write_json(content | {"sha256": checksums}, checkpoint / MANIFEST_NAME)


def _checksum_of(content: dict[str, Any]) -> str:
    # Numbers as keys sort otherwise than the texts that they come back as.
    return hashlib.sha256(json.dumps(as_read_back(content), sort_keys=True).encode()).hexdigest()


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """Return the facts about the run that wrote a checkpoint, all of whose files are looked at.

    Checkpoints of older releases have no checksums: of their files the sizes alone are compared.

    Raises:
        ValueError: if the checkpoint is not whole, naming the file and what is wrong with it.
    """
    files, checksums, run = _read(checkpoint)
    for name, size in files.items():
        if (fault := _fault(checkpoint / name, size, checksums.get(name))) is not None:
            told = f"The checkpoint {str(checkpoint)!r} is not whole: {name!r} {fault}."
            raise ValueError(f"{told} Resume from an earlier checkpoint.")
    return run


def _read(checkpoint: Path) -> tuple[dict[str, int], dict[str, str], dict[str, Any]]:
    """Sizes and checksums by file, and the facts about the run."""
    try:
        manifest = json.loads((checkpoint / MANIFEST_NAME).read_text(encoding="utf-8"))
        checksums = manifest.pop("sha256") if manifest.keys() - {"files", "run"} else {}
        if checksums and checksums.pop(MANIFEST_NAME) != _checksum_of(manifest):
            raise ValueError("its own checksum is another one than when it was written")
        files, run = manifest["files"], manifest["run"]
        if not (isinstance(run, dict) and checksums.keys() <= files.keys() and all(map(_is_inside, files))):
            raise ValueError("it contradicts itself")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"The checkpoint {str(checkpoint)!r} is not whole: it has no readable {MANIFEST_NAME!r} ({error}), which "
            "`DistillationTrainer` writes last. Resume from an earlier checkpoint."
        ) from error
    return files, checksums, run


def _is_inside(name: str) -> bool:
    return "\0" not in name and not os.path.isabs(name) and ".." not in Path(name).parts


def _fault(path: Path, size: Any, expected: Any) -> str | None:
    try:
        found = path.stat().st_size if path.is_file() else None
        if found is None:
            return "is missing"
        if found != size:
            return f"has {found} bytes instead of {size}"
        damaged = expected is not None and checksum(path) != expected
    except (OSError, ValueError) as error:
        return f"can't be read ({error})"
    return "is damaged: its SHA-256 is another one than when it was written" if damaged else None


def check_weights(checkpoint: Path) -> None:
    """Make sure that what is trained is finite in a checkpoint, but where a backend keeps it in files of its own.

    Raises:
        NonFiniteError: naming the file and the tensors.
    """
    check_files(sorted(checkpoint.glob("*.safetensors")), "Resume from an earlier checkpoint, or start again.")


def last_whole_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest whole checkpoint of an output folder; warns of each newer one that can't be gone on from."""
    if not Path(folder).is_dir():
        return None
    numbered = [
        (int(match[1]), path)
        for path in Path(folder).iterdir()
        if path.is_dir() and (match := _FOLDER.fullmatch(path.name))
    ]
    for _, path in sorted(numbered, reverse=True):
        try:
            read_manifest(path)
            check_weights(path)
        except ValueError as error:
            logger.warning("Passed over: %s", error)
        else:
            return str(path)
    return None


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint; at no moment of this does the rest of it look whole."""
    (checkpoint / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
