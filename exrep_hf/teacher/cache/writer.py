"""Ask a teacher about every view of every image, and store what it says."""

import contextlib
import errno
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from filelock import FileLock, Timeout

from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.files import write_bytes, write_json
from exrep_hf.main_process import decided_by_main
from exrep_hf.teacher.cache.answer_files import find_faults
from exrep_hf.teacher.cache.manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    Manifest,
    Plan,
    Shard,
)
from exrep_hf.teacher.cache.manifest_file import read_manifest, read_plan
from exrep_hf.teacher.cache.plan_checks import check_plan
from exrep_hf.teacher.cache.shard_file import ShardFile, checksum_file, find_fault
from exrep_hf.teacher.cache.shard_writer import ShardWriter, warn_of_top1
from exrep_hf.teacher.feature_definition import other_features
from exrep_hf.teacher.source import TeacherSource

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"


def write_answers(
    teacher: TeacherSource,
    dataset: ReplayedDataset,
    folder: Path,
    plan: Plan,
    batch_size: int,
    rebuild: bool = False,
    num_workers: int = 0,
    expected_top1: float | None = None,
    measure: Callable[[], dict[str, Any]] | None = None,
    begin: Callable[[], None] | None = None,
) -> None:
    """Carry a plan out, on all processes, from where it was interrupted.

    Each process writes files of its own; what is in a file depends on the plan alone, so that neither interruptions
    nor the number of processes change it. Processes wait for each other by looking at the folder: a collective
    operation would time out where one has an hour more to do.

    Args:
        teacher: whom to ask.
        dataset: the views, as the teacher wants them.
        folder: new, or with what an interrupted call left.
        plan: what to store.
        batch_size: images to ask about at a time.
        rebuild: check the files of a finished folder, and write damaged ones again.
        num_workers: processes that prepare images, for each process.
        expected_top1: share of the images that the teacher should get right, in [0, 1]; one that gets less than half
            of it is warned about.
        measure: called on all processes before the teacher is asked, where anything is to be written; what it returns
            stands in the manifest's summary.
        begin: called on the main process when the folder is in order, and anything is to be written.

    Raises:
        ValueError: if the plan has too many files, the folder is of another plan, is being written, or is finished
            but damaged; or if an answer can't be stored.
        OSError: if the disk is full: whole files stay.
    """
    check_plan(plan, f"The answers for {str(folder)!r}")
    state = PartialState()
    with _only_writer(folder):
        launch = decided_by_main(lambda: _settle(folder, plan, rebuild))
        if launch is None:
            return
        if begin is not None:
            decided_by_main(begin)
        # As it was begun: versions of packages are those of the first call.
        plan = read_plan(folder / PLAN_NAME)
        measured = {} if measure is None else measure()
        mine = plan.shards()[state.process_index :: state.num_processes]
        done = [folder / f".done-{launch}-{process}" for process in range(state.num_processes)]
        failed = folder / f".failed-{launch}"
        told = _failure_told(failed) if state.num_processes > 1 else contextlib.nullcontext()
        with _full_disk_explained(folder, plan), told:
            missing = [shard for shard in mine if _is_missing(folder, plan, shard)]
            ShardWriter(teacher, dataset, folder, plan, batch_size, expected_top1).write(missing, num_workers)
            done[state.process_index].touch()
            if state.is_main_process:
                _wait_for(lambda: all(mark.exists() for mark in done), failed)
                _finish(folder, plan, measured, expected_top1)
            _wait_for((folder / MANIFEST_NAME).is_file, failed)


def _wait_for(happened: Callable[[], bool], failed: Path) -> None:
    """Wait for the others.

    Raises:
        RuntimeError: if one of them has failed, with what it said.
    """
    while not happened():
        if failed.is_file():
            raise RuntimeError(f"Another process ended with an error: {failed.read_text(encoding='utf-8')}")
        time.sleep(0.1)


@contextlib.contextmanager
def _failure_told(failed: Path) -> Iterator[None]:
    """Leave an error where the others look: a launcher ends the processes of its own machine alone."""
    try:
        yield
    except BaseException as error:
        # The first one alone: the others fail of it.
        if not failed.is_file():
            with contextlib.suppress(OSError):
                write_bytes(f"{type(error).__name__}: {error}".encode(), failed)
        raise


@contextlib.contextmanager
def _full_disk_explained(folder: Path, plan: Plan) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        there = sum((folder / shard.name).is_file() for shard in plan.shards())
        raise OSError(
            error.errno,
            f"The disk of {str(folder)!r} is full, or its quota used up: {there} of {len(plan.shards())} files are "
            "whole and stay. Make room, and run the same command again: it goes on from there.",
        ) from error


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Refuse to write where another launch is writing; the lock goes when its holder does, however it ends."""
    lock = FileLock(folder / LOCK_NAME)

    def acquire() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"Another process is writing to {str(folder)!r}; expected to be the only one. Wait for it, or give "
                "another folder."
            ) from error

    decided_by_main(acquire)
    try:
        yield
    finally:
        lock.release()


def _settle(folder: Path, plan: Plan, rebuild: bool) -> str | None:
    """Put the folder in order for writing; returns a name for this launch, or None if all is written and whole."""
    if (folder / MANIFEST_NAME).is_file():
        manifest = read_manifest(folder / MANIFEST_NAME)
        _check_same(folder, manifest.plan, plan)
        faults = find_faults(folder, manifest, manifest.plan.shards(), full=True)
        if not faults:
            # Left by a process that was killed just when it had written the manifest.
            _clear_traces(folder)
            return None
        named = "; ".join(f"{shard.name}: {fault}" for shard, fault in faults.items())
        if not rebuild:
            raise ValueError(
                f"{str(folder)!r} is finished, but {len(faults)} of its files are damaged: {named}. Run the same "
                "command with `--rebuild`, which writes only these again."
            )
        logger.warning("Writing again: %s", named)
        for name, entry in manifest.shards.items():
            if (folder / name).parent.is_dir():
                write_bytes(entry["sha256"].encode(), checksum_file(folder / name))
        write_json(manifest.plan.as_dict(), folder / PLAN_NAME)
        (folder / MANIFEST_NAME).unlink()
        for shard in faults:
            (folder / shard.name).unlink(missing_ok=True)
        return uuid.uuid4().hex
    if (folder / PLAN_NAME).is_file():
        begun = read_plan(folder / PLAN_NAME)
        _check_same(folder, begun, plan)
        plan = begun
    else:
        foreign = [path.name for path in folder.iterdir() if path.name not in (LOCK_NAME, PLAN_NAME + ".tmp")]
        if foreign:
            raise ValueError(
                f"{str(folder)!r} holds files that are not stored answers ({', '.join(sorted(foreign))}). Give a new "
                "folder."
            )
        write_json(plan.as_dict(), folder / PLAN_NAME)
    for leftover in _leftovers(folder):
        leftover.unlink()
    _check_room(folder, plan, [shard for shard in plan.shards() if not (folder / shard.name).is_file()])
    return uuid.uuid4().hex


def _is_missing(folder: Path, plan: Plan, shard: Shard) -> bool:
    """Return whether a file has to be written: it is not there, or not as it was written before an interruption."""
    path = folder / shard.name
    if not path.is_file():
        return True
    kept = checksum_file(path)
    fault = find_fault(path, plan, shard, sha256=kept.read_text() if kept.is_file() else "unknown")
    if fault is not None:
        logger.warning("Written again: %s: %s", shard.name, fault)
    return fault is not None


def _leftovers(folder: Path) -> list[Path]:
    """Return what launches before left that were ended."""
    patterns = ("view-*/shard-*.tmp", "*.json.tmp", ".done-*", ".failed-*")
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _clear_traces(folder: Path) -> None:
    """Remove what is of use only while answers are written."""
    for path in (*folder.glob("view-*/shard-*.sha256"), *_leftovers(folder), folder / PLAN_NAME):
        path.unlink(missing_ok=True)


def _check_same(folder: Path, stored: Plan, plan: Plan) -> None:
    differences = stored.differences(plan)
    if stored.teacher.get("features") is None and plan.teacher.get("features") is not None:
        raise ValueError(other_features(str(folder), plan.teacher["name"]))
    if differences:
        raise ValueError(
            f"{str(folder)!r} holds other answers than these ({'; '.join(differences)}). Run with the settings it was "
            "begun with, or give another folder."
        )
    if stored.versions != plan.versions:
        logger.warning(
            "%r was begun with %s and goes on with %s: answers may differ in their last bits.",
            str(folder),
            stored.versions,
            plan.versions,
        )


def _check_room(folder: Path, plan: Plan, shards: Sequence[Shard]) -> None:
    width = 4 if plan.storage["dtype"] == "float32" else 2
    # Classes and masses are four bytes each whatever the type.
    sizes = {"top_classes": 4, "remainder": 4}
    row = sum(values * sizes.get(name, width) for name, values in plan.widths.items())
    needed = sum(shard.rows for shard in shards) * row
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"The answers still to be written need {needed / 1e9:.2f} GB, and the disk of {str(folder)!r} has "
            f"{free / 1e9:.2f} GB left. Make room, or store less: `--dtype float16`, `--top_k`, fewer `--views`."
        )


def _finish(folder: Path, plan: Plan, measured: dict[str, Any], expected_top1: float | None) -> None:
    """Write the manifest, which makes the folder whole."""
    entries, correct, labelled = {}, 0, 0
    for shard in plan.shards():
        path = folder / shard.name
        facts = ShardFile(path).facts
        correct, labelled = correct + facts["correct"], labelled + facts["labelled"]
        # Of the bytes that were written, not of those that lie there now.
        entries[shard.name] = {"bytes": path.stat().st_size, "sha256": checksum_file(path).read_text()}
    top1 = correct / labelled if labelled else None
    if top1 is not None:
        warn_of_top1(top1, labelled, expected_top1)
    summary = {"labelled": labelled, "top1": top1, **measured}
    write_json(Manifest(plan, entries, summary).as_dict(), folder / MANIFEST_NAME)
    _clear_traces(folder)
