"""Answers that hold NaN or infinite values are neither stored nor taught from."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from exrep_hf.finite import NonFiniteError, named


def check_answers(
    tables: Mapping[str, Tensor], rows: Sequence[int], views: Sequence[int], whose: str, remedy: str
) -> None:
    """Make sure that all answers to a batch are finite; waits for the device that they are on.

    Args:
        tables: `(batch, width)`, by name.
        rows: `(batch,)`, of the data set.
        views: `(batch,)`.
        whose: for the message: `The teacher's`, or where they are stored.
        remedy: what to do otherwise, one sentence or more.

    Raises:
        NonFiniteError: naming rows and views.
    """
    for name, table in tables.items():
        places = (~table.isfinite().all(-1)).nonzero().flatten().tolist()
        if places:
            which = named([f"row {rows[place]} in view {views[place]}" for place in places])
            raise NonFiniteError(
                f"{whose} {name} for {len(places)} of {len(rows)} images hold NaN or infinite values: {which}; "
                f"expected finite ones. {remedy}"
            )
