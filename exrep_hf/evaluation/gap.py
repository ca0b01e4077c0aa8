"""How much of the distance to the teacher was recovered."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy.special import stdtrit


def gap_recovered(before: float, after: float, teacher: float) -> float | None:
    """Share of the gap between starting student and teacher that was closed, in percent.

    `100 · (after − before) / (teacher − before)`: 0 is nothing gained, 100 is as good as the teacher.

    Args:
        before: accuracy of the student before distillation.
        after: accuracy of the student after it, in the same unit.
        teacher: accuracy of the teacher, in the same unit.

    Returns:
        The share, or None where the teacher is no better than the starting student: then there is no gap.
    """
    return 100 * (after - before) / (teacher - before) if teacher > before else None


def data_gap_recovered(before: float, after: float, oracle: float) -> float | None:
    """Share of what the missing data would have brought that was recovered, in percent.

    `100 · (after − before) / (oracle − before)`: 100 means that the missing data no longer matter. A small student is
    bounded by its capacity, which this measure allows for and `gap_recovered` does not.

    Args:
        before: accuracy of the student before distillation.
        after: accuracy of the student after it, in the same unit.
        oracle: accuracy of the same student trained on public *and* private images for as many steps: the better of
            labels and the teacher.

    Returns:
        The share, or None where the oracle is no better than the starting student: then no data are missing.
    """
    return gap_recovered(before, after, oracle)


def mean_and_deviation(values: Sequence[float | None]) -> dict[str, float | None] | None:
    """Mean and sample standard deviation over seeds; None where a seed has no value.

    Returns:
        `{"mean", "std"}`; `std` is None for a single value.
    """
    present = [value for value in values if value is not None]
    if not present or len(present) < len(values):
        return None
    return {"mean": mean(present), "std": stdev(present) if len(present) > 1 else None}


def paired_difference(first: Sequence[float], second: Sequence[float]) -> dict[str, float | None]:
    """Return by how much one arm is above another, seed by seed: what differs between seeds alone drops out.

    Args:
        first: figures of an arm, one a seed.
        second: those of the other, of the same seeds from the same starting students.

    Returns:
        `{"mean", "low", "high"}` in the unit of the figures: the mean of the differences and its 95 % interval by
        Student's t; `low` and `high` are None for a single seed.

    Raises:
        ValueError: if there are not as many of each.
    """
    differences = [one - other for one, other in zip(first, second, strict=True)]
    middle, low, high = mean(differences), None, None
    if (degrees := len(differences) - 1) > 0:
        half = float(stdtrit(degrees, 0.975)) * stdev(differences) / math.sqrt(len(differences))
        low, high = middle - half, middle + half
    return {"mean": middle, "low": low, "high": high}
