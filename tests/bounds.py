"""What a refusal costs, measured in a process of its own."""

import multiprocessing
import re
import resource
import time
from collections.abc import Callable
from typing import Any

SECONDS = 1.0
MEGABYTES = 100.0


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(call: Callable[[], Any], told: Any) -> None:
    before, start = _peak(), time.process_time()
    try:
        outcome = f"not refused: {call()!r:.200}"
    except ValueError as error:
        outcome = str(error)
    except BaseException as error:
        outcome = f"not refused by us: {error!r:.200}"
    told.put((outcome, time.process_time() - start, _peak() - before))


def assert_refused(call: Callable[[], Any], match: str) -> None:
    """Make sure that a call ends soon, with a `ValueError` of this text, and without much memory."""
    # Forked: what the call needs is imported, and its memory counts from here.
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    process = context.Process(target=_report, args=(call, told))
    process.start()
    # A process that waits for ever takes no time of its own.
    process.join(30)
    ended = process.exitcode
    if ended is None:
        process.kill()
        process.join()
    assert ended == 0, f"it ended with {ended}"
    outcome, seconds, megabytes = told.get()
    assert re.search(match, outcome), outcome
    assert len(outcome) < 2000, len(outcome)
    assert seconds < SECONDS and megabytes < MEGABYTES, (seconds, megabytes)
