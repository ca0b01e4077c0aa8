"""A study over numbers of public images: its table and its picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from exrep_hf.report.table import percent

Results = Mapping[str, Any]


def _published(arm: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an arm reaches as published: with a distiller only where it never learnt to do without."""
    return arm["without_distiller"] if arm["plain"] and arm["without_distiller"] else arm


def _arm_names(by_size: Mapping[int, Results]) -> list[str]:
    """Return all arms, in the order of the size with the most of them."""
    fullest = sorted((list(results["arms"]) for results in by_size.values()), key=len, reverse=True)
    return list(dict.fromkeys(name for names in fullest for name in names))


def sizes_table(by_size: Mapping[int, Results]) -> str:
    """One student's arms as rows, numbers of public images as columns, as Markdown.

    Args:
        by_size: content of `results.json` for each number of public images.

    Returns:
        The table; in each cell top-1 in percent, and in brackets the data gap recovered.
    """
    sizes = sorted(by_size, reverse=True)
    starts = {"student before": {size: by_size[size]["student"] for size in sizes}}
    arms = {
        name: {size: _published(by_size[size]["arms"][name]) for size in sizes if name in by_size[size]["arms"]}
        for name in _arm_names(by_size)
    }
    rows = [["top-1 % (data gap recovered %)", *(f"{size} public images" for size in sizes)]]
    rows.append(["---", *["---:"] * len(sizes)])
    rows += [[name, *(_cell(outcomes.get(size)) for size in sizes)] for name, outcomes in {**starts, **arms}.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "–"
    gap = outcome.get("data_gap_recovered")
    return percent(outcome["accuracy"]) + (f" ({percent(gap, 1.0, 0)})" if gap else "")


def plot_sizes(students: Mapping[str, Mapping[int, Results]], path: Path) -> None:
    """Draw the data gap recovered against the number of public images: a panel a student, a line an arm.

    Args:
        students: by name, and by number of public images, the content of `results.json`.
        path: of the PNG.
    """
    figure = Figure(figsize=(7.4 * len(students), 4.6), layout="constrained")
    for axes, (student, by_size) in zip(
        figure.subplots(1, len(students), squeeze=False, sharey=True)[0], students.items(), strict=True
    ):
        for number, name in enumerate(_arm_names(by_size)):
            points = [
                (size, _published(results["arms"][name])["data_gap_recovered"])
                for size, results in sorted(by_size.items())
                if name in results["arms"] and _published(results["arms"][name])["data_gap_recovered"] is not None
            ]
            axes.errorbar(
                [size for size, _ in points],
                [value["mean"] for _, value in points],
                [value["std"] or 0.0 for _, value in points],
                label=name,
                color=f"C{number % 10}",
                linestyle="-" if number < 10 else "--",
                linewidth=2.6 if name == "exrep" else 1.3,
                marker="o",
                markersize=4,
                capsize=3,
            )
        axes.axhline(100, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(sorted(by_size), [str(size) for size in sorted(by_size)])
        axes.minorticks_off()
        axes.set_xlabel("public images")
        axes.set_ylabel("data gap recovered, %")
        axes.set_title(f"{student} student, as published")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(path, dpi=110)
