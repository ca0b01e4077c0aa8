"""Each benchmark of stored answers and starts runs as a file, on toys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("script", "number", "rows"), [("stored_answers", 6, 2), ("start", 10, 2), ("start_up", 9, 2)]
)
def test_a_toy_is_measured(script: str, number: int, rows: int, tmp_path: Path) -> None:
    """Rows of its number with a figure each; too few pairs for a verdict where it is a ratio."""
    output = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "recipes" / "benchmarks" / f"{script}.py"), "--device", "cpu", "--smoke"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, "--pairs", "2", "--output", str(output)], check=True, env=environment, timeout=400)
    found = json.loads(output.read_text())["rows"]
    assert [row["number"] for row in found] == [number] * rows
    for row in found:
        ratio = row["ratio"]
        assert (ratio["value"] if isinstance(ratio, dict) else ratio) > -10 and row["target"] > 0
        assert not isinstance(ratio, dict) or row["verdict"] == "unclear"
