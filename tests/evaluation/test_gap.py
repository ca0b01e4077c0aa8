"""The measure of success, on numbers worked out by hand."""

import pytest
from scipy.stats import ttest_rel

from exrep_hf.evaluation import data_gap_recovered, gap_recovered, mean_and_deviation, paired_difference


def test_gap_recovered() -> None:
    """Nothing gained is 0, the teacher's level is 100, and losing accuracy is negative."""
    assert gap_recovered(0.80, 0.80, 0.90) == 0
    assert gap_recovered(0.80, 0.90, 0.90) == pytest.approx(100)
    assert gap_recovered(0.80, 0.85, 0.90) == pytest.approx(50)
    assert gap_recovered(0.80, 0.78, 0.90) == pytest.approx(-20)
    assert gap_recovered(0.80, 0.95, 0.90) == pytest.approx(150)


def test_data_gap_recovered() -> None:
    """Against the oracle and not the teacher: a student at its oracle's level misses no data."""
    assert data_gap_recovered(0.80, 0.84, 0.84) == pytest.approx(100)
    assert data_gap_recovered(0.80, 0.82, 0.84) == pytest.approx(50)
    assert data_gap_recovered(0.80, 0.82, 0.80) is None


@pytest.mark.parametrize("teacher", [0.80, 0.79])
def test_no_gap(teacher: float) -> None:
    """A teacher that is no better leaves no gap: a share of it would be infinite, or flip its sign."""
    assert gap_recovered(0.80, 0.85, teacher) is None


def test_mean_and_deviation() -> None:
    """The sample deviation (n − 1): the population's would be too small by a fifth at three seeds."""
    assert mean_and_deviation([1.0, 2.0, 3.0]) == {"mean": 2.0, "std": 1.0}
    assert mean_and_deviation([0.5]) == {"mean": 0.5, "std": None}
    assert mean_and_deviation([0.5, None]) is None
    assert mean_and_deviation([]) is None


def test_paired_difference() -> None:
    """Against scipy's own test for pairs; what differs between seeds alone widens nothing."""
    first, second = [0.90, 0.80, 0.71], [0.88, 0.77, 0.70]
    interval = ttest_rel(first, second).confidence_interval(0.95)
    found = paired_difference(first, second)
    assert found == pytest.approx({"mean": 0.02, "low": interval.low, "high": interval.high})
    apart = ttest_rel(first, [0.70, 0.88, 0.77]).confidence_interval(0.95)
    assert paired_difference(first, [0.70, 0.88, 0.77])["low"] == pytest.approx(apart.low)
    assert apart.low < -0.3 < interval.low
    assert paired_difference([0.9], [0.8]) == {"mean": pytest.approx(0.1), "low": None, "high": None}
    assert paired_difference([0.5, 0.75], [0.25, 0.5]) == {"mean": 0.25, "low": 0.25, "high": 0.25}
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([0.9, 0.8], [0.8])
