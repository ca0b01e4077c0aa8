"""The tables and the picture of a study over numbers of images and of steps."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from exrep_hf.report import calibration_table, plot_sizes, sizes_table


def arm(mean: float, gap: float | None, above: tuple[float, float, float] | None, seeds: int = 2) -> dict[str, Any]:
    """What a column says of an arm."""
    return {
        "seeds": list(range(seeds)),
        "accuracy": {"mean": mean, "std": 0.01},
        "data_gap_recovered": None if gap is None else {"mean": gap, "std": 1.5},
        "method_above": None if above is None else dict(zip(("mean", "low", "high"), above, strict=True)),
    }


@pytest.fixture
def columns() -> list[dict[str, Any]]:
    """Two sizes at 1 500 steps; `kd` was not run at the larger one. The larger one stands first."""
    small: dict[str, Any] = {
        "student": "small",
        "size": 100,
        "steps": 1500,
        "before": {"mean": 0.7, "std": 0.02},
        "method": "exrep",
        "oracle": {"arm": "oracle-kd", "gap": {"mean": 0.2, "std": 0.03}},
        "arms": {
            "kd": arm(0.84, 70, (0.02, 0.01, 0.03)),
            "oracle-kd": arm(0.9, 100, (-0.04, -0.05, -0.03), 1),
            "exrep": arm(0.86, 80, None),
        },
    }
    large: dict[str, Any] = copy.deepcopy(small) | {"size": 2000, "oracle": None}
    del large["arms"]["kd"]
    large["arms"]["exrep"]["data_gap_recovered"]["mean"] = 90
    return [large, small]


def test_table(columns: list[dict[str, Any]]) -> None:
    """Differences stand beside means, the denominator below; what was not run, or not with all seeds, is said."""
    assert sizes_table(columns).splitlines() == [
        "small student, 1500 steps",
        "",
        "| top-1 % (data gap recovered %) | 100 public images | 2000 public images |",
        "| --- | ---: | ---: |",
        "| student before | 70.0 ± 2.0 | 70.0 ± 2.0 |",
        "| kd | 84.0 ± 1.0 (70 ± 2)<br>exrep +2.0 (+1.0 to +3.0) | – |",
        "| oracle-kd | 90.0 ± 1.0 (100 ± 2), 1 of 2 seeds<br>exrep -4.0 (-5.0 to -3.0) "
        "| 90.0 ± 1.0 (100 ± 2), 1 of 2 seeds<br>exrep -4.0 (-5.0 to -3.0) |",
        "| exrep | 86.0 ± 1.0 (80 ± 2) | 86.0 ± 1.0 (90 ± 2) |",
        "| the data gap, points | 20.0 ± 3.0 (`oracle-kd`) | – |",
    ]


def test_a_table_for_each_number_of_steps(columns: list[dict[str, Any]]) -> None:
    """Runs of other lengths are no columns of one table."""
    longer = columns[0] | {"steps": 6000}
    assert [line for line in sizes_table([*columns, longer]).splitlines() if "student," in line] == [
        "small student, 1500 steps",
        "small student, 6000 steps",
    ]


def test_calibration(columns: list[dict[str, Any]]) -> None:
    """Of the arms and tables that have a figure; no table where none has."""
    assert calibration_table(columns) == ""
    columns[0]["arms"]["exrep"]["expected_calibration_error"] = {"mean": 0.051, "std": 0.002}
    columns[1]["arms"]["kd"]["expected_calibration_error"] = {"mean": 0.1, "std": None}
    columns[1]["arms"]["oracle-kd"]["expected_calibration_error"] = None
    assert calibration_table([*columns, columns[0] | {"steps": 6000, "arms": {}}]).splitlines() == [
        "small student, 1500 steps",
        "",
        "| expected calibration error, % | 100 public images | 2000 public images |",
        "| --- | ---: | ---: |",
        "| kd | 10.0 | – |",
        "| exrep | – | 5.1 ± 0.2 |",
    ]


def test_picture(columns: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel for each student and length; an arm has one colour in all, and no line at a single size."""
    drawn: list[Figure] = []
    savefig = Figure.savefig

    def keep(figure: Figure, path: Path, dpi: int) -> None:
        drawn.append(figure)
        savefig(figure, path, dpi=dpi)

    monkeypatch.setattr(Figure, "savefig", keep)
    longer = [copy.deepcopy(column) | {"steps": 6000} for column in columns]
    for column in longer:
        column["arms"]["kd"] = arm(0.84, 70, None)
    alone = copy.deepcopy(columns[0]) | {"steps": 9000}
    assert plot_sizes([*columns, *longer, alone], tmp_path / "sizes.png")
    assert len(drawn[0].axes) == 2, "at 9 000 steps there is one size alone"
    assert (tmp_path / "sizes.png").stat().st_size > 1000
    lines: list[dict[str, Any]] = []
    colours: list[dict[str, Any]] = []
    for axes in drawn[0].axes:
        containers: list[Any] = axes.containers
        lines.append({each.get_label(): np.asarray(each.lines[0].get_xydata()).tolist() for each in containers})
        colours.append({each.get_label(): each.lines[0].get_color() for each in containers})
    assert lines[0] == {"oracle-kd": [[100, 100], [2000, 100]], "exrep": [[100, 80], [2000, 90]]}
    assert lines[1].keys() == {"kd", "oracle-kd", "exrep"}
    assert all(colours[1][name] == colour for name, colour in colours[0].items())
    assert len(set(colours[1].values())) == 3 and colours[1]["exrep"] == "black"


def test_picture_of_nothing(columns: list[dict[str, Any]], tmp_path: Path) -> None:
    """One size is no line, nor is the oracle that the others are measured by: 100 everywhere."""
    assert not plot_sizes([], tmp_path / "sizes.png")
    assert not plot_sizes(columns[:1], tmp_path / "sizes.png")
    columns[0]["oracle"] = columns[1]["oracle"]
    for column in columns:
        del column["arms"]["exrep"]["data_gap_recovered"]
    assert not plot_sizes(columns, tmp_path / "sizes.png") and not list(tmp_path.iterdir())
