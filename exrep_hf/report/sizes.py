"""A study over numbers of public images and of steps: its tables and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from exrep_hf.report.table import percent, points

Column = Mapping[str, Any]
"""One student at one number of images and of steps: its name, `size`, `steps`, and what `compare_arms` returns."""
CALIBRATION = "expected_calibration_error"
"""The key of an arm's calibration error."""


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
    return "\n\n".join(f"{_title(*key)}\n\n{_table(part)}" for key, part in _tables(columns).items())


def calibration_table(columns: Sequence[Column]) -> str:
    """The same tables of the expected calibration error, in percent; empty where no arm has one.

    Args:
        columns: in any order.
    """
    told = []
    for key, part in _tables(columns).items():
        cells = {
            name: [percent(column["arms"].get(name, {}).get(CALIBRATION)) for column in part]
            for name in _arm_names(part)
        }
        rows = [_head("expected calibration error, %", part)]
        rows += [[name, *shown] for name, shown in cells.items() if any(cell != "–" for cell in shown)]
        if len(rows) > 1:
            told.append(f"{_title(*key)}\n\n{_markdown(rows)}")
    return "\n\n".join(told)


def _table(columns: Sequence[Column]) -> str:
    rows = [_head("top-1 % (data gap recovered %)", columns)]
    rows.append(["student before", *(percent(column["before"]) for column in columns)])
    rows += [[name, *(_cell(column, name) for column in columns)] for name in _arm_names(columns)]
    rows.append(["the data gap, points", *(_gap(column) for column in columns)])
    return _markdown(rows)


def _title(student: str, steps: int) -> str:
    return f"{student} student, {steps} steps"


def _head(figure: str, columns: Sequence[Column]) -> list[str]:
    return [figure, *(f"{column['size']} public images" for column in columns)]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


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


def plot_sizes(columns: Sequence[Column], path: Path) -> bool:
    """Draw the data gap recovered against the number of public images: a panel for each student and number of steps.

    An arm has one colour in all panels; what was run at a single number of images is no line, and is left out.

    Args:
        columns: in any order.
        path: of the PNG.

    Returns:
        Whether there is any line; without one nothing is written.
    """
    panels = {key: lines for key, part in _tables(columns).items() if (lines := _lines(part))}
    if not panels:
        return False
    method = columns[0]["method"]
    # There are ten colours: further arms have them again, with broken lines.
    looks = {method: ("black", "-")}
    for number, name in enumerate(name for name in _arm_names(columns) if name != method):
        looks[name] = (f"C{number % 10}", "-" if number < 10 else "--")
    figure = Figure(figsize=(6.4 * len(panels), 4.6), layout="constrained")
    for axes, (key, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        for name, values in lines.items():
            axes.errorbar(
                [size for size, _ in values],
                [share["mean"] for _, share in values],
                [share["std"] or 0.0 for _, share in values],
                label=name,
                color=looks[name][0],
                linestyle=looks[name][1],
                linewidth=2.6 if name == method else 1.3,
                marker="o",
                markersize=4,
                capsize=3,
            )
        axes.axhline(100, color="grey", linewidth=0.8)
        axes.set_xscale("log")
        sizes = sorted({size for values in lines.values() for size, _ in values})
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("public images")
        axes.set_ylabel("data gap recovered, %")
        axes.set_title(_title(*key))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="best")
    figure.savefig(path, dpi=110)
    return True


def _lines(columns: Sequence[Column]) -> dict[str, list[tuple[int, Mapping[str, float]]]]:
    """Return the share recovered at each size, of the arms that were run at two or more; an oracle's is 100."""
    lines = {}
    for name in _arm_names(columns):
        shares = {column["size"]: column["arms"].get(name, {}).get("data_gap_recovered") for column in columns}
        values = [(size, share) for size, share in shares.items() if share is not None]
        is_measure = all((column["oracle"] or {}).get("arm") == name for column in columns)
        if len(values) > 1 and not is_measure:
            lines[name] = values
    return lines
