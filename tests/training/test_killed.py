"""Runs that are killed at random moments end as one that never was."""

import json
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from exrep_hf.training.checkpoints import last_whole_checkpoint
from tests.processes import Processes, finish

FOLDERS = ("whole", "killed")


def _wait(processes: list[BaseProcess], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened() and all(process.is_alive() for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _kill_once(
    folder: Path, processes: list[BaseProcess], chance: random.Random, step_seconds: float, number: int
) -> bool:
    """Kill a run somewhere in its training, as a scheduler does; whether it was still alive."""
    marks = [folder / f"started-{rank}" for rank in range(len(processes))]
    _wait(processes, lambda: all(mark.exists() for mark in marks))
    # In turn: when a checkpoint has become whole, while one is written, and anywhere.
    patterns = ("checkpoint-*/checkpoint_manifest.json", "checkpoint-*", None)
    pattern = patterns[number % len(patterns)]
    if pattern is not None:
        before = set((folder / "out").glob(pattern))
        _wait(processes, lambda: bool(set((folder / "out").glob(pattern)) - before))
    time.sleep(chance.uniform(0, step_seconds))
    alive = all(process.is_alive() for process in processes)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for mark in marks:
        mark.unlink()
    return alive


@pytest.mark.parametrize(("count", "kills"), [(1, 20), (2, 5)])
def test_killed_run_equals_one_that_was_not(count: int, kills: int, processes: Processes, tmp_path: Path) -> None:
    """Schedulers kill at any moment, also within a checkpoint; what is lost or drawn anew gives another student."""

    def start(folder: Path) -> list[BaseProcess]:
        folder.mkdir(exist_ok=True)
        return processes.start("tests.training.killed_run", count, str(folder), count)

    whole_run = start(tmp_path / "whole")
    _wait(whole_run, (tmp_path / "whole" / "started-0").exists)
    began = time.monotonic()
    finish(whole_run)
    step_seconds = (time.monotonic() - began) / 40
    chance, killed, folder, unfinished = random.Random(count), 0, tmp_path / "killed", 0
    steps = [0]
    while killed < kills and steps[-1] < 40:
        killed += _kill_once(folder, start(folder), chance, step_seconds, len(steps) - 1)
        whole = last_whole_checkpoint(folder / "out")
        assert whole is not None or steps[-1] == 0, "there was a whole checkpoint, and now there is none"
        steps.append(0 if whole is None else int(whole.rpartition("-")[2]))
        assert steps[-1] >= steps[-2]
        unfinished += len(list((folder / "out").glob("checkpoint-*"))) - (whole is not None)
    assert killed >= kills, "the run came to its end before it was killed often enough"
    assert len(set(steps)) > 2, "nearly all kills came before the first checkpoint"
    finish(start(folder))
    print(f"{killed} kills, at steps {steps}; {unfinished} unfinished checkpoints were left behind")
    for rank in range(count):
        expected, received = (torch.load(tmp_path / name / f"state-{rank}.pt", weights_only=True) for name in FOLDERS)
        assert expected.keys() == received.keys() and "crd_bank.bank.student" in expected
        for name, value in expected.items():
            assert torch.equal(value, received[name]), name
    # The student is the average at the end; these are the weights that were trained.
    trained = [load_file(tmp_path / name / "out/checkpoint-40/trained_weights.safetensors") for name in FOLDERS]
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())
    histories = [json.loads((tmp_path / name / "history-0.json").read_text()) for name in FOLDERS]
    assert len(histories[0]) == 40 and histories[0] == histories[1]
