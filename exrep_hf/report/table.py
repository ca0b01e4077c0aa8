"""The result as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import Any


def percent(value: Mapping[str, Any] | None, factor: float = 100.0, digits: int = 1) -> str:
    """Mean ± deviation of a share, in percent; a dash where there is none."""
    if value is None:
        return "–"
    deviation = "" if value["std"] is None else f" ± {factor * value['std']:.{digits}f}"
    return f"{factor * value['mean']:.{digits}f}{deviation}"


def _count(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"


def _gaps(results: dict[str, Any]) -> dict[str, str]:
    """Return which shares of gaps there are, and their titles: the data gap needs an oracle."""
    gaps = {"gap_recovered": "gap recovered %"}
    if any(arm.get("data_gap_recovered") for arm in results["arms"].values()):
        gaps["data_gap_recovered"] = "data gap recovered %"
    return gaps


def points(difference: Mapping[str, Any] | None) -> str:
    """Return a paired difference in points, with its 95 % interval where there are several seeds."""
    if difference is None:
        return ""
    interval = ""
    if difference["low"] is not None:
        interval = f" ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"
    return f"{100 * difference['mean']:+.1f}{interval}"


def _above(results: dict[str, Any]) -> tuple[str, ...]:
    """Return the title of the column of differences, where there are arms to differ from."""
    return (f"{results['published']['arm']} above it, points",) if results.get("differences") else ()


def summary_head(results: dict[str, Any]) -> tuple[str, ...]:
    """Titles of the columns of `summary_rows`."""
    return ("", "top-1 %", *_gaps(results).values(), *_above(results), "parameters", "MACs/image")


def summary_rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for the teacher, the starting student and each arm.

    Returns:
        Rows of name, top-1 in percent, shares of the gaps in percent, by how many points the method is above it (of
        the same seeds, with a 95 % interval), parameters, and MACs an image, as text. The data gap has a column where
        an oracle was run.
    """
    teacher, student, arms = results["teacher"], results["student"], results["arms"]
    gaps = _gaps(results)

    def row(name: str, outcome: dict[str, Any], cost: dict[str, float]) -> tuple[str, ...]:
        shares = (percent(outcome[gap], 1.0) if gap in outcome else "" for gap in gaps)
        above = (points(results["differences"].get(name)) for _ in _above(results))
        return (name, percent(outcome["accuracy"]), *shares, *above, _count(cost["parameters"]), _count(cost["macs"]))

    rows = []
    # Of stored answers it may not be known what their teacher reaches on these images.
    if teacher is not None and teacher["accuracy"] is not None:
        measured = {"accuracy": {"mean": teacher["accuracy"], "std": None}}
        rows.append(row("teacher", measured, teacher["cost"]))
    rows.append(row("student before", {"accuracy": student["accuracy"]}, student["cost"]))
    for name, arm in arms.items():
        rows.append(row(name, arm, arm["cost"]))
        if arm["without_distiller"] is not None:
            rows.append(row(f"{name}, distiller removed", arm["without_distiller"], student["cost"]))
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
    """Return the whole comparison as text."""
    data = results["dataset"]
    seeds = len(results["seeds"])
    over = f"{seeds} seed{'s (mean ± sd)' if seeds > 1 else ''}"
    title = (
        f"{data['name']}: {data['num_evaluated']} {data['evaluated_on']} images, {_training(data)} training images"
        f"{_extra(data)}, {over}"
    )
    oracle = oracle_in_words(results)
    gap = f"\n\ndata gap: to {oracle}" if oracle else ""
    return f"{title}\n\n{align([summary_head(results), *summary_rows(results)])}{gap}"


def oracle_in_words(results: dict[str, Any]) -> str | None:
    """Return what the data gap is a share of; None where there is none."""
    # Results of earlier versions don't say.
    oracle = results.get("oracle")
    return oracle and f"`{oracle['arm']}`, {percent(oracle['gap'])} points above the starting student"


def _training(data: dict[str, Any]) -> str:
    public, private = data["num_public"], data["num_private"]
    return f"{public} public and {private} private" if private else str(public)


def _extra(data: dict[str, Any]) -> str:
    return f", {data['num_extra']} images of none of the classes" if data.get("num_extra") else ""


def cost_rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return what inference costs: teacher, plain student, and the student with its distiller where it has one.

    Returns:
        Rows of name, parameters, MACs an image, and images a second, as text.
    """
    teacher, arm = results["teacher"], results["arms"][results["published"]["arm"]]
    costs = {} if teacher is None else {"teacher": teacher["cost"]}
    costs["student" if arm["distiller"] is None else "student without distiller"] = results["student"]["cost"]
    if arm["distiller"] is not None:
        costs[f"student with its `{arm['distiller']}` distiller"] = arm["cost"]
    return [
        (name, _count(cost["parameters"]), _count(cost["macs"]), _speed(cost))
        for name, cost in costs.items()
        if cost is not None
    ]


def _speed(cost: Mapping[str, float]) -> str:
    return f"{cost['images_per_second']:.0f}" if "images_per_second" in cost else "–"


def weak_classes(published: Mapping[str, Any], count: int = 5) -> list[tuple[str, ...]]:
    """Return the classes with the lowest accuracy: name, top-1 in percent, and number of images, as text."""
    classes = sorted(published.get("per_class", {}).items(), key=lambda each: each[1]["accuracy"])
    return [(name, f"{100 * facts['accuracy']:.1f}", str(facts["count"])) for name, facts in classes[:count]]
