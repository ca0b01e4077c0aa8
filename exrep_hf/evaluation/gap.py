"""How much of the distance to the teacher was recovered."""

from collections.abc import Sequence
from statistics import mean, stdev


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
        oracle: accuracy of the same student trained with labels on public *and* private images for as many steps.

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
