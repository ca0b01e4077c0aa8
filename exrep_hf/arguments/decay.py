"""A learning rate that falls in steps: the settings of it."""

from transformers import SchedulerType

from exrep_hf.arguments.ranges import require_number

_CONSTANT = ("constant", "constant_with_warmup")
"""Schedules that a decay in steps does not come on top of."""


def check_decay(decay_epochs: float | None, decay_rate: float, lr_scheduler_type: SchedulerType | str) -> None:
    """Make sure that a decay in steps is one, and the only one.

    Args:
        decay_epochs: epochs between two steps, > 0, below 1 a share of all steps; None: there is no such decay.
        decay_rate: what each multiplies the rate by, in (0, 1].
        lr_scheduler_type: transformers' name of the schedule.

    Raises:
        ValueError: naming the setting, what it is, and what was expected.
    """
    require_number("decay_epochs", decay_epochs, 0, above=True, optional=True)
    require_number("decay_rate", decay_rate, 0, 1, above=True)
    schedule = str(getattr(lr_scheduler_type, "value", lr_scheduler_type))
    if decay_epochs is not None and decay_rate < 1 and schedule not in _CONSTANT:
        raise ValueError(
            f"`decay_epochs` is {decay_epochs} and `lr_scheduler_type` {schedule!r}; expected one or the other: both "
            f"lower the learning rate. Set `lr_scheduler_type` to one of {_CONSTANT}, or `decay_rate` to 1: no decay."
        )
