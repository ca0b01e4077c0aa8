"""A learning rate that falls in steps, as EfficientNets are trained: transformers has no such schedule."""

from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from exrep_hf.arguments import DistillationArguments

# Two epochs of 2.4 are no whole number of steps in floating point.
_ROUNDING = 1e-6


def check_epochs_known(args: DistillationArguments, dataset: Any, num_images: int | None) -> None:
    """Make sure that the length of an epoch is known, where the learning rate is to fall by epochs.

    Args:
        args: settings of training.
        dataset: what is trained on; None: nothing.
        num_images: images of it; None where that is not known.

    Raises:
        ValueError: if it isn't.
    """
    if (args.decay_epochs or 0) >= 1 and dataset is not None and num_images is None:
        raise ValueError(
            f"`decay_epochs` is {args.decay_epochs}, and how many images an epoch of this data set has is not known; "
            "expected a share of all steps, below 1, or None. The paper's 2.4 of 200 epochs are 0.012."
        )


def decay_in_steps(scheduler: LambdaLR, decay_rate: float, decay_steps: float) -> None:
    """Let every rate of a schedule be multiplied by `decay_rate` each time `decay_steps` have passed, in place.

    Args:
        scheduler: one that has not begun.
        decay_rate: the factor, in (0, 1].
        decay_steps: > 0, and not always a whole number: what epochs are in optimizer steps.
    """
    scheduler.lr_lambdas = [_decayed(factor, decay_rate, decay_steps) for factor in scheduler.lr_lambdas]


def _decayed(factor: Callable[[int], float], decay_rate: float, decay_steps: float) -> Callable[[int], float]:
    # A function, of which a checkpoint holds nothing: a run that is resumed may have another schedule.
    def decayed(step: int) -> float:
        return factor(step) * decay_rate ** ((step + _ROUNDING) // decay_steps)

    return decayed
