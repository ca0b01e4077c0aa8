"""Each benchmark of speed runs as a file, on toys, and all of them make one table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("script", "numbers"),
    [
        ("step", [1, 1, 1]),
        ("stored_answers", [6, 6]),
        pytest.param("distiller", [7, 7], marks=pytest.mark.slow),
        ("evaluation", [8, 8, 8]),
        pytest.param("start", [10, 10], marks=pytest.mark.slow),
        pytest.param("start_up", [9, 9], marks=pytest.mark.slow),
    ],
)
def test_a_toy_is_measured(script: str, numbers: list[int], tmp_path: Path) -> None:
    """Rows of their numbers with a figure each; too few pairs for a verdict where it is a ratio."""
    output = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "recipes" / "benchmarks" / f"{script}.py"), "--device", "cpu", "--smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, "--pairs", "2", "--output", str(output)], check=True, env=environment, timeout=400)
    found = json.loads(output.read_text())["rows"]
    assert [row["number"] for row in found] == numbers
    for row in found:
        ratio = row["ratio"]
        assert (ratio["value"] if isinstance(ratio, dict) else ratio) > -10 and row["target"] > 0
        assert not isinstance(ratio, dict) or row["verdict"] == "unclear"


def test_one_table(tmp_path: Path) -> None:
    """Rows of all benchmarks that were run, by their numbers."""
    for name, number in (("crd", 4), ("step", 1)):
        row = {"number": number, "what": name, "ratio": 0.5, "target": 1.0, "better": "smaller", "note": ""}
        content = {"device": "CPU, 1 thread", "rows": [{**row, "verdict": "met"}]}
        (tmp_path / f"{name}-cpu.json").write_text(json.dumps(content))
    command = [sys.executable, str(ROOT / "recipes" / "benchmarks" / "speed.py"), "--device", "cpu", "--collect_only"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--results_dir", str(tmp_path)], check=True, env=environment, capture_output=True, text=True
    )
    lines = done.stdout.strip().splitlines()
    assert lines[0] == "CPU, 1 thread"
    assert lines[-2:] == ["| 1 | step | 0.5 | ≤ 1.0 | met |", "| 4 | crd | 0.5 | ≤ 1.0 | met |"]


@pytest.mark.slow
def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "recipes" / "benchmarks" / "growth.py"), "--smoke", "--steps", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, "--results_dir", str(tmp_path)], check=True, env=environment, timeout=600)
    found = json.loads((tmp_path / "growth-cpu.json").read_text())
    assert {point["grown"] for point in found["points"]} == {"classes", "pixels"}
    assert found["last_exponents"].keys() == {"classes", "pixels"}
    assert (tmp_path / "growth.png").stat().st_size > 10_000
