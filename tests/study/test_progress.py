"""Bars of a study: on a terminal alone, named, and gone afterwards."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import sys
import termios
from collections.abc import Sequence
from typing import Any

import pytest
from torch import nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments

from exrep_hf.study.progress import StageProgress, show_progress


def walk_through(bar: StageProgress) -> None:
    """What the Trainer tells a callback of three steps and an evaluation."""
    args: Any = None
    state, control = TrainerState(max_steps=3), TrainerControl()
    bar.on_train_begin(args, state, control)
    for state.global_step in (1, 2, 3):
        bar.on_step_end(args, state, control)
    for _ in range(2):
        bar.on_prediction_step(args, state, control, eval_dataloader=range(2))
    bar.on_evaluate(args, state, control)
    bar.on_log(args, state, control, logs={"loss": 0.123456})
    bar.on_train_end(args, state, control)


def read_to_the_end(terminal: int) -> str:
    """What was written to the other side, which is closed: reading gives parts of it, then fails."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 100_000):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_terminal_shows_them_by_name_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        walk_through(StageProgress("seed 7: ce"))
    shown = read_to_the_end(ours)
    os.close(ours)
    assert "seed 7: ce:   0%|" in shown
    assert "seed 7: ce, evaluation" in shown
    # The last thing written is an empty line in the place of the training's bar.
    assert not shown.rstrip("\r").rsplit("\r", 1)[-1].strip()


def test_a_file_gets_the_losses_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    walk_through(StageProgress("seed 7: ce"))
    assert written.getvalue() == ""
    assert capsys.readouterr().out == "{'loss': '0.1235'}\n"


@pytest.mark.parametrize(
    ("disable", "expected"), [(False, ["StageProgress"]), (True, ["PrinterCallback"])], ids=["bars", "disabled"]
)
def test_they_take_the_place_of_the_trainers_own(tmp_path: Any, disable: bool, expected: Sequence[str]) -> None:
    args = TrainingArguments(str(tmp_path), disable_tqdm=disable, use_cpu=True, report_to="none")
    trainer = Trainer(model=nn.Linear(1, 1), args=args)
    show_progress(trainer, "seed 7: ce")
    shown = [
        each for each in trainer.callback_handler.callbacks if isinstance(each, ProgressCallback | PrinterCallback)
    ]
    assert [type(each).__name__ for each in shown] == expected
