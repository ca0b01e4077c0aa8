"""Ask a teacher about every view of every image, and store what it says."""

import contextlib
import errno
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from filelock import FileLock, Timeout

from exrep_hf.data.views import ReplayedDataset
from exrep_hf.main_process import decided_by_main
from exrep_hf.teacher.cache.asking import ShardWriter
from exrep_hf.teacher.cache.files import find_faults
from exrep_hf.teacher.cache.manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    Manifest,
    Plan,
    Shard,
    read_manifest,
    read_plan,
    write_content,
)
from exrep_hf.teacher.cache.shard_file import ShardFile, checksum, find_fault
from exrep_hf.teacher.source import TeacherSource

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"


def write_answers(
    teacher: TeacherSource,
    dataset: ReplayedDataset,
    folder: Path,
    plan: Plan,
    rebuild: bool = False,
    num_workers: int = 0,
    expected_top1: float | None = None,
    measure: Callable[[], dict[str, Any]] | None = None,
) -> None:
    """Carry a plan out, on all processes, from where it was interrupted.

    Each process writes files of its own; what is in a file depends on the plan alone, so that neither interruptions nor
    the number of processes change it.

    Args:
        teacher: whom to ask.
        dataset: the views, as the teacher wants them.
        folder: new, or with what an interrupted call left.
        plan: what to store.
        rebuild: check the files of a finished folder, and write damaged ones anew.
        num_workers: processes that prepare images, for each process.
        expected_top1: share of the images that the teacher should get right, in [0, 1]; one that gets less than half
            of it is warned about.
        measure: called on all processes before the teacher is asked, where anything is to be written; what it returns
            stands in the manifest's summary.

    Raises:
        ValueError: if the folder is of another plan, is being written, or is finished but damaged; or if an answer
            can't be stored.
        OSError: if the disk is full: whole files stay.
    """
    state = PartialState()
    with _only_writer(folder):
        todo = decided_by_main(lambda: _settle(folder, plan, rebuild))
        if todo is None:
            return
        # As it was begun: versions of packages are those of the first call.
        plan = read_plan(folder / PLAN_NAME)
        measured = {} if measure is None else measure()
        mine = todo[state.process_index :: state.num_processes]
        writer = ShardWriter(teacher, dataset, folder, plan, expected_top1)
        try:
            writer.write(mine, num_workers)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            left = sum(not (folder / shard.name).is_file() for shard in plan.shards())
            raise OSError(
                errno.ENOSPC,
                f"The disk of {str(folder)!r} is full: {len(plan.shards()) - left} of {len(plan.shards())} files are "
                "whole and stay. Make room, and run the same command again: it goes on from there.",
            ) from error
        state.wait_for_everyone()
        decided_by_main(lambda: _finish(folder, plan, measured))


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


def _settle(folder: Path, plan: Plan, rebuild: bool) -> list[Shard] | None:
    """The files that are to be written; None if the folder is finished and whole."""
    if (folder / MANIFEST_NAME).is_file():
        manifest = read_manifest(folder / MANIFEST_NAME)
        _check_same(folder, manifest.plan, plan)
        # Left by a process that was killed just when it had written the manifest.
        (folder / PLAN_NAME).unlink(missing_ok=True)
        faults = find_faults(folder, manifest, manifest.plan.shards(), full=True)
        if not faults:
            return None
        named = "; ".join(f"{shard.name}: {fault}" for shard, fault in faults.items())
        if not rebuild:
            raise ValueError(
                f"{str(folder)!r} is finished, but {len(faults)} of its files are damaged: {named}. Run the same "
                "command with `--rebuild`, which writes only these anew."
            )
        logger.warning("Writing anew: %s", named)
        write_content(manifest.plan.as_dict(), folder / PLAN_NAME)
        (folder / MANIFEST_NAME).unlink()
        for shard in faults:
            (folder / shard.name).unlink(missing_ok=True)
        return list(faults)
    if (folder / PLAN_NAME).is_file():
        begun = read_plan(folder / PLAN_NAME)
        _check_same(folder, begun, plan)
        plan = begun
    else:
        foreign = [path.name for path in folder.iterdir() if path.name != LOCK_NAME and path.suffix != ".tmp"]
        if foreign:
            raise ValueError(
                f"{str(folder)!r} holds files that are not stored answers ({', '.join(sorted(foreign))}). Give a new "
                "folder."
            )
        write_content(plan.as_dict(), folder / PLAN_NAME)
    for leftover in folder.rglob("*.tmp"):
        leftover.unlink()
    missing = []
    for shard in plan.shards():
        fault = find_fault(folder / shard.name, plan, shard)
        if fault is not None:
            if (folder / shard.name).exists():
                logger.warning("Written anew: %s: %s", shard.name, fault)
            missing.append(shard)
    _check_room(folder, plan, missing)
    return missing


def _check_same(folder: Path, stored: Plan, plan: Plan) -> None:
    differences = stored.differences(plan)
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
    top_k = plan.storage["top_k"]
    logits = plan.teacher["num_labels"] * width if top_k is None else top_k * (width + 4) + 32
    needed = sum(shard.rows for shard in shards) * (logits + plan.teacher["feature_dim"] * width)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"The answers that are still to be written need {needed / 1e9:.2f} GB, and the disk of {str(folder)!r} has "
            f"{free / 1e9:.2f} GB left. Make room, or store less: `--dtype float16`, `--top_k`, fewer `--views`."
        )


def _finish(folder: Path, plan: Plan, measured: dict[str, Any]) -> None:
    """Write the manifest, which makes the folder whole."""
    entries, correct, labelled = {}, 0, 0
    for shard in plan.shards():
        path = folder / shard.name
        facts = ShardFile(path).facts
        correct, labelled = correct + facts["correct"], labelled + facts["labelled"]
        entries[shard.name] = {"bytes": path.stat().st_size, "sha256": checksum(path)}
    summary = {"labelled": labelled, "top1": correct / labelled if labelled else None, **measured}
    write_content(Manifest(plan, entries, summary).as_dict(), folder / MANIFEST_NAME)
    (folder / PLAN_NAME).unlink()
