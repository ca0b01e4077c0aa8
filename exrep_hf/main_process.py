"""What one process decides for all, and what each has of the machine."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Decision = TypeVar("Decision")


def decided_by_main(decide: Callable[[], Decision]) -> Decision:
    """Call a function on the main process alone; all processes return what it returns, or raise what it raises.

    That is a `ValueError` or `OSError`; anything else ends the main process, and the launcher the others.
    """
    outcome: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome[0] = decide()
        except (ValueError, OSError) as error:
            numbered = isinstance(error, OSError) and error.errno is not None
            outcome[1] = (error.errno, error.strerror) if numbered else (None, str(error))  # type: ignore[union-attr]
            broadcast_object_list(outcome)
            raise
    # The others must not wait at the next barrier for a process that has raised.
    decision, refusal = broadcast_object_list(outcome)
    if refusal is not None:
        number, message = refusal
        raise ValueError(message) if number is None else OSError(number, message)
    return decision


@functools.cache
def print_once(line: str) -> None:
    """Print a line that this process has not said yet, as transformers' `warning_once` does."""
    print(line, flush=True)


def cores_of_process() -> int:
    """Return how many cores there are for this process, where those of a machine share them; at least 1."""
    # Not on all systems; a job may be allowed a part of the cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
