"""The result as a person reads it."""

from collections.abc import Sequence
from typing import Any


def _percent(value: dict[str, Any] | None, factor: float = 100.0) -> str:
    if value is None:
        return "–"
    deviation = "" if value["std"] is None else f" ± {factor * value['std']:.1f}"
    return f"{factor * value['mean']:.1f}{deviation}"


def _count(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


def summary_rows(results: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """One row for the teacher, the starting student and each arm.

    Returns:
        Rows of name, top-1 in percent, gap recovered in percent, parameters, and MACs an image, as text.
    """
    teacher, student = results["teacher"], results["student"]
    rows = []
    if teacher is not None:
        cost = teacher["cost"]
        top1 = f"{100 * teacher['accuracy']:.1f}"
        rows.append(("teacher", top1, "", _count(cost["parameters"]), _count(cost["macs"])))
    cost = student["cost"]
    rows.append(
        ("student before", _percent(student["accuracy"]), "", _count(cost["parameters"]), _count(cost["macs"]))
    )
    for name, arm in results["arms"].items():
        cost = arm["cost"]
        gap = _percent(arm["gap_recovered"], 1.0)
        rows.append((name, _percent(arm["accuracy"]), gap, _count(cost["parameters"]), _count(cost["macs"])))
        removed = arm["without_distiller"]
        if removed is not None:
            gap = _percent(removed["gap_recovered"], 1.0)
            cost = student["cost"]
            rows.append(
                (
                    f"{name}, distiller removed",
                    _percent(removed["accuracy"]),
                    gap,
                    _count(cost["parameters"]),
                    _count(cost["macs"]),
                )
            )
    return rows


def align(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def summary_table(results: dict[str, Any]) -> str:
    """The whole comparison as text."""
    data = results["dataset"]
    seeds = len(results["seeds"])
    head = ("", "top-1 %", "gap recovered %", "parameters", "MACs/image")
    title = (
        f"{data['name']}: {data['num_evaluated']} {data['evaluated_on']} images, {data['num_public']} public and "
        f"{data['num_private']} private training images, {seeds} seed{'s (mean ± sd)' if seeds > 1 else ''}"
    )
    return f"{title}\n\n{align([head, *summary_rows(results)])}"
