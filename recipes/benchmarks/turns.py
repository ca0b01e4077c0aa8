"""One step at a time of a Trainer's own loop, so that its steps can be timed in turns with those of another loop."""

import ctypes
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Of glibc's mallopt.
_ARENA_MAX = -8


def share_memory_pool() -> None:
    """Let all threads allocate from one pool: what one gets of its own makes the same step up to twice as long."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 1)


class FixedBatches:
    """A loader that gives the same batch again and again: what is timed is the step, not the data.

    Args:
        batch: on the device.
        dataset: what the Trainer takes the number of images from.
        steps: batches of an epoch.
    """

    def __init__(self, batch: dict[str, torch.Tensor], dataset: Any, steps: int) -> None:
        self.batch, self.dataset, self.steps = batch, dataset, steps
        self.batch_size = len(batch["pixel_values"])

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Any:
        return (dict(self.batch) for _ in range(self.steps))


class Turns(TrainerCallback):
    """Runs `trainer.train()` in a thread of its own, which waits after every step.

    Args:
        trainer: not yet trained; as many steps are asked of it as its arguments say, or fewer.
        batch: what each step gets.
    """

    def __init__(self, trainer: Trainer, batch: dict[str, torch.Tensor]) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._stops = False
        loader = FixedBatches(batch, trainer.train_dataset, trainer.args.max_steps)
        trainer.get_train_dataloader = lambda: loader  # type: ignore[assignment, method-assign, return-value]
        trainer.add_callback(self)
        self._trainer = trainer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let the Trainer make a step, and wait until it is made."""
        self._go.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the training."""
        self._stops = True
        self._go.release()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._trainer.train()
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand the turn over."""
        self._done.release()
        self._go.acquire()
        control.should_training_stop = control.should_training_stop or self._stops


def in_a_thread(step: Callable[[], None]) -> Callable[[], None]:
    """Return a step that runs in a thread of its own: there memory is allocated otherwise than in the main one."""
    thread = ThreadPoolExecutor(1)
    return lambda: thread.submit(step).result()
