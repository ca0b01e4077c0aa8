"""A study over numbers of public images: its table and its picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from exrep_hf.report.table import align, percent

MEASURES = {"accuracy": ("top-1 %", 100.0), "data_gap_recovered": ("data gap recovered %", 1.0)}

Results = Mapping[str, Any]


def _published(arm: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an arm's student reaches as it is published: with a distiller only where it never learnt to do without."""
    return arm["without_distiller"] if arm["plain"] and arm["without_distiller"] else arm


def _arm_names(by_size: Mapping[int, Results]) -> list[str]:
    """All arms, in the order of the size with the most of them."""
    fullest = sorted((list(results["arms"]) for results in by_size.values()), key=len, reverse=True)
    return list(dict.fromkeys(name for names in fullest for name in names))


def sizes_table(by_size: Mapping[int, Results], markdown: bool = False) -> str:
    """One student's arms as rows, numbers of public images as columns: top-1 and the data gap recovered.

    Args:
        by_size: content of `results.json` for each number of public images.
        markdown: a table for a README instead of aligned text.
    """
    sizes = sorted(by_size, reverse=True)
    head = ["public images", *(f"{size}: {title}" for size in sizes for title, _ in MEASURES.values())]
    starts = {"student before": {size: by_size[size]["student"] for size in sizes}}
    arms = {
        name: {size: _published(by_size[size]["arms"][name]) for size in sizes if name in by_size[size]["arms"]}
        for name in _arm_names(by_size)
    }
    rows = [head]
    for name, outcomes in {**starts, **arms}.items():
        cells = (
            percent(outcomes.get(size, {}).get(measure), factor)
            for size in sizes
            for measure, (_, factor) in MEASURES.items()
        )
        rows.append([name, *cells])
    if not markdown:
        return align(rows)
    ruled = [rows[0], ["---", *["---:"] * (len(head) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


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
