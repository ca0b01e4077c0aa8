"""One run at a time in a folder."""

import errno
import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from transformers import Trainer, TrainerCallback

from exrep_hf.training.only_run import HOLDER_NAME, LOCK_NAME, only_run_in
from tests.processes import Processes, finish

MakeTrainer = Callable[..., Any]
ROOT = Path(__file__).parents[2]
SAVING = {"save_strategy": "steps", "save_steps": 2}
# What a launcher does: it starts a process, and waits for it.
LAUNCHER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "/home/me/data", "--hub_token", "secret"])
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import sys, time
from pathlib import Path
from exrep_hf.training.only_run import only_run_in
with only_run_in(Path({folder!r})):
    Path({folder!r}, "held").touch()
    time.sleep(100)
"""


def wait(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_free(folder: Path) -> bool:
    try:
        with only_run_in(folder):
            return True
    except ValueError:
        return False


def test_a_launcher_that_is_killed_alone(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Its child writes on, and a second start would write in between."""
    out = tmp_path / "out"
    started = [sys.executable, "-c", LAUNCHER, CHILD.format(folder=str(out))]
    launcher = subprocess.Popen(started, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert launcher.stdout is not None
    child = int(launcher.stdout.readline())
    try:
        wait((out / "held").is_file)
        launcher.kill()
        launcher.wait()
        trainer = make_trainer(**SAVING)
        told = rf"process {child}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d, by `-c data`; expected one at a time"
        with pytest.raises(ValueError, match=rf"Another run is at work in '.*out': {told}"):
            trainer.train()
        assert not list(out.glob("checkpoint-*"))
    finally:
        os.kill(child, signal.SIGKILL)
    wait(lambda: is_free(out))
    trainer.train()
    assert trainer.state.global_step == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed(workers: int, processes: Processes, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Also with loader processes, which hold copies of what it had open for some seconds more."""
    (first,) = processes.start("tests.training.locked_run", 1, str(tmp_path), {"dataloader_num_workers": workers})
    wait((tmp_path / "started-0").exists)
    (second,) = processes.start("tests.training.locked_run", 1, str(tmp_path), {})
    finish([second])
    assert f"process {first.pid}, since " in (tmp_path / "refused-0").read_text()
    first.kill()
    first.join()
    assert is_free(tmp_path / "out")


def test_several_processes(processes: Processes, tmp_path: Path) -> None:
    """The main process holds it for all; all of a second start are refused, and none waits for another."""
    first = processes.start("tests.training.locked_run", 2, str(tmp_path), {})
    wait(lambda: all((tmp_path / f"started-{rank}").exists() for rank in range(2)))
    finish(processes.start("tests.training.locked_run", 2, str(tmp_path), {}))
    for rank in range(2):
        assert f"process {first[0].pid}, since " in (tmp_path / f"refused-{rank}").read_text()
    assert all(process.is_alive() for process in first)


class Failure(TrainerCallback):
    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def test_one_process_again_and_again(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """As in a notebook: the same trainer, another one, one that was stopped; nothing is left in the folder."""
    interrupted = make_trainer(callbacks=[Failure()], **SAVING)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    trainer = make_trainer(**SAVING)
    trainer.train()
    trainer.train()
    make_trainer(**SAVING).train(resume_from_checkpoint=True)
    with only_run_in(tmp_path / "out"):
        make_trainer(**SAVING).train()
        assert (tmp_path / "out" / LOCK_NAME).exists()
        assert json.loads((tmp_path / "out" / HOLDER_NAME).read_text())["pid"] == os.getpid()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"checkpoint-2", "checkpoint-4"}


def test_what_saves_nothing_disturbs_none(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Sweeps share the default folder."""
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / LOCK_NAME):
        make_trainer().train()
        make_trainer().evaluate(make_trainer().train_dataset)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EROFS, errno.EOPNOTSUPP])
def test_folders_that_cannot_be_locked(
    number: int, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Some network file systems: a run there is better than none."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    trainer = make_trainer(**SAVING)
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        trainer.train()
    assert re.search(rf"Files in '.*out' can't be locked .*{os.strerror(number)}.*: nothing keeps", caplog.text)
    assert trainer.state.global_step == 4


def test_the_lock_is_not_pushed() -> None:
    """The Trainer pushes the folder while it trains, but for these patterns."""
    assert 'ignore_patterns=["_*"' in inspect.getsource(Trainer._push_from_checkpoint)
    assert LOCK_NAME.startswith("_") and HOLDER_NAME.startswith("_")
