"""What one process decides for all."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Decision = TypeVar("Decision")


def decided_by_main(decide: Callable[[], Decision]) -> Decision:
    """Call a function on the main process alone; all processes return what it returns, or raise its `ValueError`."""
    outcome: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome[0] = decide()
        except ValueError as error:
            outcome[1] = str(error)
    # The others must not wait at the next barrier for a process that has raised.
    decision, refusal = broadcast_object_list(outcome)
    if refusal is not None:
        raise ValueError(refusal)
    return decision
