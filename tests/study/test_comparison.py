"""What several arms say side by side, on figures worked out by hand."""

from typing import Any

import pytest

from exrep_hf.study.comparison import add_gaps, best_oracle, compare_arms, differences


def run(seed: int, before: float, after: float, without: float | None = None) -> dict[str, Any]:
    """Return a record as far as a comparison reads it."""
    return {
        "seed": seed,
        "before": {"accuracy": before},
        "after": {"accuracy": after},
        "teacher": {"accuracy": 0.9},
        "without_distiller": None if without is None else {"after": {"accuracy": without}},
    }


@pytest.fixture
def records() -> dict[str, list[dict[str, Any]]]:
    """Two oracles, of which labels win with one seed and the teacher on the mean."""
    return {
        "kd": [run(0, 0.5, 0.6), run(1, 0.6, 0.7)],
        "oracle-labels": [run(0, 0.5, 0.71), run(1, 0.6, 0.7)],
        "oracle-kd": [run(0, 0.5, 0.7), run(1, 0.6, 0.8)],
        "exrep": [run(0, 0.5, 0.65, 0.64), run(1, 0.6, 0.77, 0.75)],
    }


ORACLES = ["oracle-labels", "oracle-kd"]


def test_the_data_gap_is_to_the_better_oracle(records: dict[str, list[dict[str, Any]]]) -> None:
    """The weaker one would flatter; which is better is said by all seeds together, and taken for each."""
    assert best_oracle(ORACLES, records) == "oracle-kd"
    assert best_oracle([], records) is None
    add_gaps(records, "oracle-kd")
    assert [each["data_gap_recovered"] for each in records["exrep"]] == pytest.approx([75, 85])
    assert [each["without_distiller"]["data_gap_recovered"] for each in records["exrep"]] == pytest.approx([70, 75])
    assert [each["gap_recovered"] for each in records["kd"]] == pytest.approx([25, 100 / 3])
    assert records["oracle-labels"][0]["data_gap_recovered"] == pytest.approx(105)


def test_oracles_are_compared_on_the_seeds_they_share(records: dict[str, list[dict[str, Any]]]) -> None:
    """One that was run with an easy seed alone is no better."""
    records["oracle-kd"] = records["oracle-kd"][:1]
    assert best_oracle(ORACLES, records) == "oracle-labels"
    records["oracle-kd"] = [run(7, 0.5, 0.9)]
    assert best_oracle(ORACLES, records) is None
    records["oracle-kd"] = []
    assert best_oracle(ORACLES, records) == "oracle-labels"


def test_differences_are_of_the_same_seeds(records: dict[str, list[dict[str, Any]]]) -> None:
    """Students as they would be published; a seed that one of both lacks has no part in it."""
    found = differences("exrep", records, {"exrep"})
    assert found["kd"]["mean"] == pytest.approx(0.045)
    assert differences("exrep", records, set())["kd"]["mean"] == pytest.approx(0.06)
    records["kd"] = records["kd"][1:]
    assert differences("exrep", records, {"exrep"})["kd"] == {"mean": pytest.approx(0.05), "low": None, "high": None}
    records["kd"] = [run(7, 0.5, 0.6)]
    assert "kd" not in differences("exrep", records, {"exrep"})


def test_a_column(records: dict[str, list[dict[str, Any]]]) -> None:
    """What a table holds, also where the method or a seed is still to be run."""
    del records["oracle-kd"][1]
    for each, error in zip(records["exrep"], (0.02, 0.04), strict=True):
        each["after"]["expected_calibration_error"] = 0.5
        each["without_distiller"]["after"]["expected_calibration_error"] = error
    records["kd"][0]["after"]["expected_calibration_error"] = 0.1
    column = compare_arms(records, "exrep", ORACLES, {"exrep"})
    assert column["arms"]["exrep"]["expected_calibration_error"]["mean"] == pytest.approx(0.03)
    assert column["arms"]["kd"]["expected_calibration_error"] is None
    assert column["before"] == {"mean": pytest.approx(0.55), "std": pytest.approx(0.0707, abs=1e-4)}
    assert column["oracle"] == {"arm": "oracle-labels", "gap": pytest.approx({"mean": 0.155, "std": 0.0778}, abs=1e-4)}
    assert column["arms"]["exrep"]["accuracy"]["mean"] == pytest.approx(0.695)
    assert column["arms"]["oracle-kd"]["seeds"] == [0]
    assert column["arms"]["kd"]["method_above"]["mean"] == pytest.approx(0.045)
    del records["exrep"]
    column = compare_arms(records, "exrep", ORACLES, set())
    assert column["arms"].keys() == {"kd", *ORACLES} and column["arms"]["kd"]["method_above"] is None
    assert compare_arms({}, "exrep", ORACLES, set())["before"] is None
