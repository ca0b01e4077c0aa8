"""The table that a person reads."""

from typing import Any

from exrep_hf.report import summary_head, summary_rows, summary_table


def test_rows(results: dict[str, Any]) -> None:
    """Every arm stands in the table, also what is left when its distiller is taken away."""
    assert summary_rows(results) == [
        ("teacher", "90.0", "", "1.00 M", "5.00 M"),
        ("student before", "80.0 ± 0.0", "", "1.00 M", "5.00 M"),
        ("kd", "84.0 ± 1.0", "50.0 ± 2.5", "1.23 M", "2.00 G"),
        ("exrep", "85.0 ± 1.0", "50.0 ± 2.5", "1.23 M", "2.00 G"),
        ("exrep, distiller removed", "41.0 ± 0.0", "-390.0 ± 0.0", "1.00 M", "5.00 M"),
    ]


def test_no_gap_is_said(results: dict[str, Any]) -> None:
    """A gap that does not exist is a dash, not a number."""
    results["arms"]["kd"]["gap_recovered"] = None
    assert summary_rows(results)[2][2] == "–"


def test_one_seed_has_no_deviation(results: dict[str, Any]) -> None:
    """`± 0.0` would claim that nothing varies."""
    results["arms"]["kd"]["accuracy"]["std"] = None
    assert summary_rows(results)[2][1] == "84.0"


def test_without_a_teacher(results: dict[str, Any]) -> None:
    """Labels alone need no teacher, and then no row speaks of one."""
    results["teacher"] = None
    assert [row[0] for row in summary_rows(results)][0] == "student before"


def test_columns_are_aligned(results: dict[str, Any]) -> None:
    """Numbers stand right-aligned below their heading, and the heading says what was evaluated."""
    title, _, *lines = summary_table(results).splitlines()
    assert title == "digits: 450 test images, 100 public and 900 private training images, 2 seeds (mean ± sd)"
    open_data = results | {"dataset": results["dataset"] | {"num_private": 0}}
    assert summary_table(open_data).startswith("digits: 450 test images, 100 training images, 2 seeds")
    head, *rows = lines
    end = head.index("top-1 %") + len("top-1 %")
    assert [row[:end].rstrip()[-3:] for row in rows[1:4]] == ["0.0", "1.0", "1.0"]
    assert len({len(line) for line in lines}) == 1


def test_differences_and_what_the_data_gap_is_of(results: dict[str, Any]) -> None:
    """By seed, beside the means; the share's denominator is said in points."""
    results["differences"] = {"kd": {"mean": 0.012, "low": -0.003, "high": 0.027}}
    results["oracle"] = {"arm": "oracle-kd", "gap": {"mean": 0.112, "std": 0.01}}
    head, rows = summary_head(results), {row[0]: row for row in summary_rows(results)}
    column = head.index("exrep above it, points")
    assert rows["kd"][column] == "+1.2 (-0.3 to +2.7)"
    assert rows["exrep"][column] == rows["teacher"][column] == ""
    assert all(len(row) == len(head) for row in rows.values())
    assert summary_table(results).endswith("data gap: to `oracle-kd`, 11.2 ± 1.0 points above the starting student")
    results["differences"]["kd"] |= {"low": None, "high": None}
    assert summary_rows(results)[2][column] == "+1.2"
