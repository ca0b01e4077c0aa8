"""The job of recipes/slurm/train.sbatch, with Slurm's two commands played by scripts: two nodes on one host."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As `srun` does with one task a node: the same command for each, and a failure of one is a failure of all.
SRUN = """#!/bin/bash
[[ $1 == --kill-on-bad-exit=1 ]] || exit 90
shift
for node in 0 1; do SLURM_NODEID=$node "$@" & started+=($!); done
code=0
for process in "${started[@]}"; do wait "$process" || code=$?; done
exit $code
"""
SCONTROL = "#!/bin/bash\n[[ $* == 'show hostnames node[1-2]' ]] && echo 127.0.0.1 && echo other\n"
SHORT = (
    "--teacher_steps 4 --student_steps 2 --max_steps 4 --num_seeds 1 --logging_steps 2 --max_eval_samples 30 "
    "--per_device_train_batch_size 16 --use_cpu true --no_doctor"
)


def _submit(tmp_path: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    for name, script in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "MASTER_PORT": str(port)}
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | slurm | {"PATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        ["bash", "recipes/slurm/train.sbatch", "--config", "recipes/digits.yaml", *settings],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip


@pytest.mark.slow
def test_two_nodes_train_one_student(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = _submit(tmp_path, "--output_dir", str(folder), *SHORT.split())
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads((folder / "results.json").read_text())
    assert results["processes"] == 2
    # A job that is requeued finds its runs finished.
    again = _submit(tmp_path, "--output_dir", str(folder), *SHORT.split())
    assert again.returncode == 0 and again.stdout.count("is finished already") == 3
    wrong = _submit(tmp_path, "--output_dir", str(folder), "--no_such_setting", "1")
    assert wrong.returncode != 0 and "no_such_setting" in wrong.stderr
