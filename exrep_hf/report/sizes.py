"""A study over numbers of public images and of steps: its tables and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from exrep_hf.report.table import percent, points

Column = Mapping[str, Any]
"""One student at one number of images and of steps: its name, `size`, `steps`, and what `compare_arms` returns."""


def _arm_names(columns: Sequence[Column]) -> list[str]:
    """Return all arms, in the order of the column with the most of them."""
    fullest = sorted((list(column["arms"]) for column in columns), key=len, reverse=True)
    return list(dict.fromkeys(name for names in fullest for name in names))


def _tables(columns: Sequence[Column]) -> dict[tuple[str, int], list[Column]]:
    """Return the columns of each table, by student and steps, in the order of their sizes."""
    tables: dict[tuple[str, int], list[Column]] = {}
    for column in sorted(columns, key=lambda each: (each["student"], each["steps"], each["size"])):
        tables.setdefault((column["student"], column["steps"]), []).append(column)
    return tables


def sizes_table(columns: Sequence[Column]) -> str:
    """Arms as rows and numbers of public images as columns, a Markdown table for each student and number of steps.

    Args:
        columns: in any order.

    Returns:
        The tables; in each cell top-1 in percent, in brackets the data gap recovered, and on a second line how many
        points the method is above, with its 95 % interval. Arms that were not run with all seeds of the column say
        with how many.
    """
    return "\n\n".join(
        f"{student} student, {steps} steps\n\n{_table(part)}" for (student, steps), part in _tables(columns).items()
    )


def _table(columns: Sequence[Column]) -> str:
    rows = [["top-1 % (data gap recovered %)", *(f"{column['size']} public images" for column in columns)]]
    rows.append(["---", *["---:"] * len(columns)])
    rows.append(["student before", *(percent(column["before"]) for column in columns)])
    rows += [[name, *(_cell(column, name) for column in columns)] for name in _arm_names(columns)]
    rows.append(["the data gap, points", *(_gap(column) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(column: Column, name: str) -> str:
    arm = column["arms"].get(name)
    if arm is None:
        return "–"
    gap, above = arm["data_gap_recovered"], arm["method_above"]
    told = percent(arm["accuracy"]) + (f" ({percent(gap, 1.0, 0)})" if gap else "")
    most = max(len(each["seeds"]) for each in column["arms"].values())
    if len(arm["seeds"]) < most:
        told += f", {len(arm['seeds'])} of {most} seeds"
    return told if above is None else f"{told}<br>{column['method']} {points(above)}"


def _gap(column: Column) -> str:
    oracle = column["oracle"]
    return "–" if oracle is None else f"{percent(oracle['gap'])} (`{oracle['arm']}`)"


def plot_sizes(columns: Sequence[Column], path: Path) -> None:
    """Draw the data gap recovered against the number of public images: a panel for each student and number of steps.

    An arm has one colour in all panels; what was run at a single number of images is no line, and is left out.

    Args:
        columns: in any order.
        path: of the PNG.
    """
    tables = _tables(columns)
    colours = {name: f"C{number % 10}" for number, name in enumerate(_arm_names(columns))}
    figure = Figure(figsize=(6.4 * max(1, len(tables)), 4.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(tables)), squeeze=False, sharey=True)[0]
    for axes, ((student, steps), part) in zip(panels, tables.items(), strict=False):
        for name in _arm_names(part):
            shares = {column["size"]: column["arms"].get(name, {}).get("data_gap_recovered") for column in part}
            values = [(size, share) for size, share in shares.items() if share is not None]
            if len(values) < 2:
                continue
            is_method = name == part[0]["method"]
            axes.errorbar(
                [size for size, _ in values],
                [share["mean"] for _, share in values],
                [share["std"] or 0.0 for _, share in values],
                label=name,
                color=colours[name],
                linestyle="-" if list(colours).index(name) < 10 else "--",
                linewidth=2.6 if is_method else 1.3,
                marker="o",
                markersize=4,
                capsize=3,
            )
        axes.axhline(100, color="black", linewidth=0.8)
        axes.set_xscale("log")
        sizes = [column["size"] for column in part]
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("public images")
        axes.set_ylabel("data gap recovered, %")
        axes.set_title(f"{student} student, {steps} steps")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8, loc="best")
    figure.savefig(path, dpi=110)
