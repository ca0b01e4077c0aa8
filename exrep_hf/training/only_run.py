"""One run at a time in an output folder."""

import contextlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from accelerate import PartialState
from filelock import FileLock, Timeout

from exrep_hf.command_line import public_flags
from exrep_hf.files import read_json, write_json
from exrep_hf.main_process import decided_by_main

logger = logging.getLogger(__name__)

LOCK_NAME = "_running.lock"
"""Begins as those files do that the Trainer leaves out of what it pushes."""
HOLDER_NAME = "_running.json"


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold an output folder, on the main process; call it on all.

    The lock goes when its holder does, however that ends. A process may enter again what it holds: a study does, with
    its runs. Where files can't be locked, a warning says so, and the run goes on.

    Args:
        folder: the output folder; made if it is not there.

    Raises:
        ValueError: on all processes, if another run is at work there, naming its process.
    """
    lock = FileLock(folder / LOCK_NAME, is_singleton=True)
    decided_by_main(lambda: _acquire(lock, folder))
    try:
        yield
    finally:
        if PartialState().is_main_process and lock.is_locked:
            _release(lock, folder)


def _acquire(lock: FileLock, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"Another run is at work in {str(folder)!r}: {_holder(folder)}; expected one at a time. Wait for it or "
            "end it (its launcher may be gone and it not), or give another `output_dir`."
        ) from error
    except (OSError, NotImplementedError) as error:
        logger.warning(
            "Files in %r can't be locked (%s): nothing keeps a second run out of this folder.", str(folder), error
        )
        return
    if lock.lock_counter == 1:
        with contextlib.suppress(OSError):
            write_json(_this_process(), folder / HOLDER_NAME)


def _release(lock: FileLock, folder: Path) -> None:
    if lock.lock_counter == 1:
        # Before the lock goes: afterwards they may be another run's. A file that is not there can't be published.
        for name in (HOLDER_NAME, LOCK_NAME):
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
    lock.release()


def _this_process() -> dict[str, str | int]:
    # Without tokens, and paths of this machine by their last part.
    command = shlex.join([Path(sys.argv[0]).name, *public_flags(sys.argv[1:])])
    return {"pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S"), "command": command}


def _holder(folder: Path) -> str:
    try:
        holder = read_json(folder / HOLDER_NAME)
        return f"process {holder['pid']}, since {holder['started']}, by `{holder['command']}`"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not said which"
