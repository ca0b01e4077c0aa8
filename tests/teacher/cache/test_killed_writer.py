"""Writers that are killed at random moments leave, in the end, the bytes of one that never was."""

import multiprocessing
import random
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
Start = Callable[[Path, int], list[BaseProcess]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts writers from a server that has imported everything, so that a start takes little time."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.teacher.cache.killed_writer"])
    from tests.teacher.cache.killed_writer import run

    running: list[BaseProcess] = []

    def start_writers(folder: Path, processes: int) -> list[BaseProcess]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started: list[BaseProcess] = [
            context.Process(target=run, args=(str(folder), rank, processes, port)) for rank in range(processes)
        ]
        for process in started:
            process.start()
        running.extend(started)
        return started

    yield start_writers
    for process in running:
        process.kill()


def _finish(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def _shards(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("view-*/*"))


@pytest.mark.parametrize(("processes", "kills"), [(1, 24), (2, 6)])
def test_killed_writers(processes: int, kills: int, start: Start, content_of: Any, tmp_path: Path) -> None:
    """84 files of 12 views; kills come while one is written, between two, and while the manifest is."""
    expected, folder = tmp_path / "expected", tmp_path / "killed"
    _finish(start(expected, 1))
    chance = random.Random(0)
    done, found = 0, []
    while done < kills:
        before = _shards(folder)
        running = start(folder, processes)
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
    _finish(start(folder, processes))
    assert content_of(folder) == content_of(expected)


def test_killed_when_the_manifest_is_written(start: Start, content_of: Any, tmp_path: Path) -> None:
    """The plan is still there, or the manifest is half-written: both are put in order by the next call."""
    expected, folder = tmp_path / "expected", tmp_path / "killed"
    _finish(start(expected, 1))
    _finish(start(folder, 1))
    manifest = (folder / "manifest.json").read_text()
    plan = folder / "plan.json"
    plan.write_text(manifest)
    _finish(start(folder, 1))
    assert content_of(folder) == content_of(expected)
    (folder / "manifest.json").rename(plan)
    (folder / "manifest.json.tmp").write_text(manifest[:100])
    _finish(start(folder, 1))
    assert content_of(folder) == content_of(expected)
