"""Which checkpoints are whole, and of which run they are."""

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from exrep_hf.files import as_read_back, sync, write_json
from exrep_hf.finite import check_files

logger = logging.getLogger(__name__)

MANIFEST_NAME = "checkpoint_manifest.json"
"""Written last: a checkpoint without it was not finished."""

_FOLDER = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def write_manifest(checkpoint: Path, run: dict[str, Any]) -> None:
    """Declare a checkpoint whole, when all processes have written their parts of it.

    Everything is on the disk before the manifest appears under its name.

    Args:
        checkpoint: its folder.
        run: facts about the run, of JSON types, that a run which resumes from it has to share.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    for path in files:
        sync(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_json({"run": run, "files": sizes}, checkpoint / MANIFEST_NAME)


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """Return the facts about the run that wrote a checkpoint.

    Raises:
        ValueError: if the checkpoint is not whole, saying what is missing.
    """
    try:
        manifest = json.loads((checkpoint / MANIFEST_NAME).read_text(encoding="utf-8"))
        files, run = manifest["files"], manifest["run"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The checkpoint {str(checkpoint)!r} is not whole: it has no readable {MANIFEST_NAME!r}, which "
            "`DistillationTrainer` writes last. Resume from an earlier checkpoint."
        ) from error
    for name, size in files.items():
        path = checkpoint / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            raise ValueError(
                f"The checkpoint {str(checkpoint)!r} is not whole: {name!r} "
                + ("is missing" if found is None else f"has {found} bytes instead of {size}")
                + ". Resume from an earlier checkpoint."
            )
    return run


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


def check_same_run(checkpoint: str, written: dict[str, Any], now: dict[str, Any]) -> None:
    """Make sure that a checkpoint belongs to this run.

    Another number of processes is accepted with a warning if a step still takes as many images: steps, order of images
    and the memory bank then stay what they were.

    Args:
        checkpoint: its folder, for messages.
        written: the facts of `write_manifest`.
        now: those of this run.

    Raises:
        ValueError: naming what differs, with both values.
    """
    now = as_read_back(now)
    differing = [
        f"{name.replace('_', ' ')}: {written.get(name)} in the checkpoint, {now.get(name)} now"
        for name in sorted(written.keys() | now.keys())
        if name != "processes" and written.get(name) != now.get(name)
    ]
    if differing:
        raise ValueError(
            f"The checkpoint {checkpoint!r} is of another run ({'; '.join(differing)}), and rows of the memory bank "
            "and the order of images belong to a run. Resume with the settings it was written with, or start again in "
            "another `output_dir`."
        )
    if written.get("processes") != now.get("processes"):
        logger.warning(
            "The checkpoint %r was written by %s processes and goes on with %s: each step sees the same images, but "
            "its random draws (negatives, mixtures) differ from those of a run that was not interrupted.",
            checkpoint,
            written.get("processes"),
            now.get("processes"),
        )
