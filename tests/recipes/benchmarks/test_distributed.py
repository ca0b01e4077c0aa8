"""The benchmark of several processes runs, and compares what it says it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "recipes" / "benchmarks" / "distributed.py"


@pytest.mark.slow
def test_benchmark(tmp_path: Path) -> None:
    small = (
        "--student timm/test_efficientnet --teacher timm/test_efficientnet --image_size 32 --batch_size 8 --steps 5"
    )
    more = f"--images 2000 --num_negatives 16 --embedding_dim 16 --output {tmp_path / 'out.json'}"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *small.split(), *more.split()]
    subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)
    results = json.loads((tmp_path / "out.json").read_text())
    one, two = results["one_process"], results["two_processes"]
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["gathered_bytes_a_step"] == 0
    # Indices and embeddings of half a batch, and a few numbers of the normaliser and the log.
    assert 4 * (8 + 2 * 4 * 16) <= two["gathered_bytes_a_step"] < 4 * (8 + 2 * 4 * 16) + 128
    assert two["gradient_bytes_a_step"] > 1e5 and two["bank_bytes"] == 2 * 2000 * 16 * 4 + 8
    assert results["step_time_one_over_two"] == pytest.approx(one["step_seconds"] / two["step_seconds"])
    assert str(tmp_path) not in (tmp_path / "out.json").read_text()
