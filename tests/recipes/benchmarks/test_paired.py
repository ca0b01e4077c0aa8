"""Timing in turns: the interval, the verdict, and what is written."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "recipes" / "benchmarks" / "paired.py"


@pytest.fixture(scope="module")
def paired() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paired", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["paired"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ratio_is_of_the_same_pair_whatever_the_order(paired: ModuleType) -> None:
    order = []

    def first() -> None:
        order.append("first")
        time.sleep(0.03)

    def second() -> None:
        order.append("second")
        time.sleep(0.01)

    ratio = paired.compare(first, second, 6, 1)
    assert order == ["first", "second", *["first", "second", "second", "first"] * 3]
    assert 1.3 < ratio.value < 7 and ratio.pairs == 6


def test_interval_covers_the_median_95_times_of_100(paired: ModuleType) -> None:
    generator = np.random.default_rng(0)
    ratios = [paired.Ratio.of(generator.lognormal(0, 1, 30).tolist()) for _ in range(2000)]
    covered = np.mean([ratio.low <= 1 <= ratio.high for ratio in ratios])
    # Exactly 95.7 % for thirty.
    assert covered == pytest.approx(0.957, abs=0.015)


def test_ratio_of_times_as_one_of_speeds(paired: ModuleType) -> None:
    assert paired.Ratio(2.0, 1.0, 4.0, 30).inverse() == paired.Ratio(0.5, 0.25, 1.0, 30)


@pytest.mark.parametrize(
    ("low", "high", "pairs", "better", "verdict"),
    [
        (0.9, 1.0, 30, "smaller", "met"),
        (0.9, 1.1, 30, "smaller", "unclear"),
        (1.1, 1.2, 30, "smaller", "missed"),
        (1.0, 1.2, 30, "larger", "met"),
        (0.9, 1.2, 30, "larger", "unclear"),
        (0.8, 0.9, 30, "larger", "missed"),
        (0.8, 0.9, 29, "smaller", "unclear"),
    ],
)
def test_verdict(paired: ModuleType, low: float, high: float, pairs: int, better: str, verdict: str) -> None:
    row = paired.Row(1, "step", paired.Ratio((low + high) / 2, low, high, pairs), 1.0, better)
    assert row.verdict == verdict


def test_figures_that_are_no_ratio_of_times(paired: ModuleType) -> None:
    assert paired.Row(4, "memory", 0.08, 0.1).verdict == "met"
    assert paired.Row(4, "memory", 0.2, 0.1).verdict == "missed"
    assert paired.Row(2, "compiled", None, 0.78).verdict == "not measured"


def test_rows_are_written_and_printed(paired: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = paired.parser("x").parse_args(["--device", "cpu", "--output", str(tmp_path / "new" / "x.json")])
    paired.report([paired.Row(1, "step", paired.Ratio(1.01, 0.99, 1.02, 30), 1.02, note="B 16")], "x", args)
    assert "| 1 | step (B 16) | 1.010 (0.990 to 1.020) | ≤ 1.02 | met |" in capsys.readouterr().out
    content = json.loads((tmp_path / "new" / "x.json").read_text())
    assert content["device"].startswith("CPU") and content["rows"][0]["verdict"] == "met"
    assert str(tmp_path) not in (tmp_path / "new" / "x.json").read_text()
