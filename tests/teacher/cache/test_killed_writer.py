"""Writers that are killed at random moments leave, in the end, the bytes of one that never was."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Processes, finish

WRITER = "tests.teacher.cache.killed_writer"


def _shards(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("view-*/*"))


@pytest.mark.parametrize(("count", "kills"), [(1, 24), (2, 6)])
def test_killed_writers(count: int, kills: int, processes: Processes, content_of: Any, tmp_path: Path) -> None:
    """84 files of 12 views; kills come while one is written, between two, and while the manifest is."""
    expected, folder = tmp_path / "expected", tmp_path / "killed"
    finish(processes.start(WRITER, 1, str(expected)))
    chance = random.Random(0)
    done, found = 0, []
    while done < kills:
        before = _shards(folder)
        running = processes.start(WRITER, count, str(folder))
        deadline = time.monotonic() + 60
        # Somewhere within the next few files: a start that was killed before it wrote anything would not go on.
        while len(_shards(folder)) <= len(before) and all(process.is_alive() for process in running):
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        alive = all(process.is_alive() for process in running)
        for process in running:
            process.kill()
        for process in running:
            process.join()
        assert alive, f"finished after {done} kills"
        done += 1
        found.append(len(_shards(folder)))
        assert not (folder / "manifest.json").exists()
    # The kills are spread over the writing, and some came in the middle of a file.
    assert found == sorted(found) and found[-1] > found[0] + kills / 2
    finish(processes.start(WRITER, count, str(folder)))
    assert content_of(folder) == content_of(expected)


def test_killed_when_the_manifest_is_written(processes: Processes, content_of: Any, tmp_path: Path) -> None:
    """The plan is still there, or the manifest is half-written: both are put in order by the next call."""
    expected, folder = tmp_path / "expected", tmp_path / "killed"
    finish(processes.start(WRITER, 1, str(expected)))
    finish(processes.start(WRITER, 1, str(folder)))
    manifest = (folder / "manifest.json").read_text()
    plan = folder / "plan.json"
    plan.write_text(manifest)
    finish(processes.start(WRITER, 1, str(folder)))
    assert content_of(folder) == content_of(expected)
    (folder / "manifest.json").rename(plan)
    (folder / "manifest.json.tmp").write_text(manifest[:100])
    finish(processes.start(WRITER, 1, str(folder)))
    assert content_of(folder) == content_of(expected)
