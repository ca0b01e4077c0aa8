"""Two real processes train the student that one process trains with twice the batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")
LAUNCHERS = {
    1: [sys.executable],
    # Without `--multi_gpu` two processes become one, and without `use_cpu` they become two runs of one.
    2: [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    + ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"],
}


def launch(folder: Path, processes: int) -> list[dict[str, Any]]:
    folder.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*LAUNCHERS[processes], str(SCRIPT), str(folder), str(8 // processes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"facts-{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Gradients that are not averaged between processes train two students, of which one is saved."""
    (one,) = launch(tmp_path / "one", 1)
    two = launch(tmp_path / "two", 2)
    for facts in two:
        assert facts["world_size"] == 2
        assert facts["distributed_type"] in ("DistributedType.MULTI_CPU", "DistributedType.MULTI_GPU")
        assert facts["wrapped"]
    assert one["world_size"] == 1 and not one["wrapped"]
    students = [
        torch.load(tmp_path / name / f"student-{rank}.pt", weights_only=True)
        for name, rank in (("one", 0), ("two", 0), ("two", 1))
    ]
    for name, value in students[0].items():
        assert torch.equal(students[1][name], students[2][name]), name
        torch.testing.assert_close(students[1][name], value, rtol=1e-5, atol=1e-5)
    assert len(one["history"]) == 5
    for single, double in zip(one["history"], two[0]["history"], strict=True):
        for name in ("loss", "loss_ce", "loss_kd"):
            assert double[name] == pytest.approx(single[name], rel=1e-5)
    names: dict[str, tuple[str, ...]] = {"even": ("accuracy", "teacher_agreement", "loss", "loss_ce", "loss_kd")}
    names["uneven"] = ("accuracy", "teacher_agreement")
    for facts in two:
        for rows, metrics in names.items():
            for name in metrics:
                expected = one["metrics"][rows][f"eval_{name}"]
                assert facts["metrics"][rows][f"eval_{name}"] == pytest.approx(expected, rel=1e-5), (rows, name)
