"""What a run says about itself: settings that were chosen for it, and how long it will take."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from exrep_hf.main_process import print_once

# Steps that are not timed: memory is laid out and code compiled in them.
_WARM_UP = 5
_TIMED = 15


class NoticeCallback(TrainerCallback):
    """Print what was chosen when training starts, and a little later the time that is left.

    Args:
        lines: to print first.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        self._clock = StepClock(_WARM_UP, _TIMED)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the lines, on the main process."""
        if state.is_world_process_zero:
            for line in self.lines:
                print_once(line)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the time that is left, once it can be told."""
        seconds = self._clock.tick()
        left = state.max_steps - state.global_step
        if seconds is not None and left and state.is_world_process_zero:
            print(f"{left} steps left, {in_words(seconds * left)}", flush=True)


class StepClock:
    """Seconds of a step, from steps that follow each other.

    Args:
        warm_up: steps that don't count.
        timed: steps that do.
    """

    def __init__(self, warm_up: int, timed: int) -> None:
        self.warm_up, self.timed = warm_up, timed
        self._steps, self._began = 0, 0.0

    def tick(self) -> float | None:
        """Note the end of a step; return the seconds a step when the last timed one ends, else None."""
        self._steps += 1
        if self._steps not in (self.warm_up, self.warm_up + self.timed):
            return None
        wait_for_accelerator()
        if self._steps == self.warm_up:
            self._began = time.perf_counter()
            return None
        return (time.perf_counter() - self._began) / self.timed


class ClockCallback(TrainerCallback):
    """Measure the seconds of a step.

    Args:
        warm_up: steps that don't count.
        timed: steps that do; the run has to be at least as long as both.

    Attributes:
        seconds: of one step; None until it is known.
    """

    def __init__(self, warm_up: int, timed: int) -> None:
        self._clock = StepClock(warm_up, timed)
        self.seconds: float | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the step."""
        measured = self._clock.tick()
        self.seconds = self.seconds if measured is None else measured


def in_words(seconds: float) -> str:
    """Return a length of time as a person says it."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    minutes = seconds / 60
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"


def wait_for_accelerator() -> None:
    """Let work be done that was only queued, where there is an accelerator."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
