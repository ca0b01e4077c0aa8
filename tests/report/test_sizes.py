"""The table and picture of a study over numbers of images."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from exrep_hf.report import plot_sizes, sizes_table


@pytest.fixture
def by_size(results: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Two sizes; `kd` was not run at the larger one."""
    for arm in results["arms"].values():
        arm["data_gap_recovered"] = {"mean": 90.0, "std": 1.5}
        arm["plain"] = True
        if arm["without_distiller"]:
            arm["without_distiller"]["data_gap_recovered"] = {"mean": 12.3, "std": None}
    larger = copy.deepcopy(results)
    del larger["arms"]["kd"]
    return {100: results, 2000: larger}


def test_table(by_size: dict[int, dict[str, Any]]) -> None:
    """What is shown is the student as published, here without its distiller; an arm that was not run is no number."""
    assert sizes_table(by_size).splitlines() == [
        "| top-1 % (data gap recovered %) | 2000 public images | 100 public images |",
        "| --- | ---: | ---: |",
        "| student before | 80.0 ± 0.0 | 80.0 ± 0.0 |",
        "| kd | – | 84.0 ± 1.0 (90 ± 2) |",
        "| exrep | 41.0 ± 0.0 (12) | 41.0 ± 0.0 (12) |",
    ]


def test_a_distiller_that_stays_is_shown_with_it(by_size: dict[int, dict[str, Any]]) -> None:
    """A student that never learnt to do without its distiller is not judged without it."""
    by_size[100]["arms"]["exrep"]["plain"] = False
    last = sizes_table(by_size).splitlines()[-1]
    assert last == "| exrep | 41.0 ± 0.0 (12) | 85.0 ± 1.0 (90 ± 2) |"


def test_picture(by_size: dict[int, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel a student, a line an arm, at the sizes where it was run."""
    drawn: list[Figure] = []
    savefig = Figure.savefig

    def keep(figure: Figure, path: Path, dpi: int) -> None:
        drawn.append(figure)
        savefig(figure, path, dpi=dpi)

    monkeypatch.setattr(Figure, "savefig", keep)
    plot_sizes({"small": by_size, "large": by_size}, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 1000
    assert [axes.get_title().split()[0] for axes in drawn[0].axes] == ["small", "large"]
    containers: list[Any] = drawn[0].axes[0].containers
    lines = {each.get_label(): np.asarray(each.lines[0].get_xydata()).tolist() for each in containers}
    assert lines == {"kd": [[100, 90]], "exrep": [[100, 12.3], [2000, 12.3]]}
