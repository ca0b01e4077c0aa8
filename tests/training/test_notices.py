"""What a run says about itself."""

from collections.abc import Callable
from typing import Any

import pytest

from exrep_hf.training.notices import ClockCallback, StepClock, in_words


def test_what_was_chosen_is_printed_before_the_first_step(
    make_trainer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A learning rate that nobody gave and nobody sees can't be repeated."""
    trainer = make_trainer(learning_rate=None, freeze_batch_norm=None, max_steps=25)
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    rate = next(line for line in lines if line.startswith("learning rate"))
    assert rate == f"learning rate {trainer.args.learning_rate:g}: the student starts from nothing, 4 images a step"
    assert any(line.startswith("BatchNorm statistics free") for line in lines)
    assert lines.index(rate) < next(place for place, line in enumerate(lines) if "'loss'" in line)
    assert any(line.startswith("5 steps left, about ") for line in lines)


def test_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first steps lay out memory and compile: they say nothing about the others."""
    times = iter([10.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = StepClock(warm_up=2, timed=3)
    assert [clock.tick() for _ in range(6)] == [None, None, None, None, 2.0, None]


def test_clock_of_a_run(make_trainer: Callable[..., Any]) -> None:
    """What was measured stays, whatever steps follow."""
    clock = ClockCallback(1, 2)
    make_trainer(callbacks=[clock], max_steps=5).train()
    assert clock.seconds is not None and 0 < clock.seconds < 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s"), (89, "about 89 s"), (150, "about 2 min"), (3600, "about 60 min"), (9000, "about 2.5 h")],
)
def test_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
