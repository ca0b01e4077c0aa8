"""The command line that people type, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.processes import Processes

ROOT = Path(__file__).parents[2]
SMALL = (
    "--teacher_steps 4 --student_steps 2 --max_steps 2 --num_seeds 2 --logging_steps 1 --max_eval_samples 30 "
    "--no_doctor".split()
)


def launch(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run `accelerate launch recipes/train.py` in the README's way."""
    command = [str(Path(sys.executable).with_name("accelerate")), "launch", "recipes/train.py", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_digits_without_a_config(tmp_path: Path) -> None:
    """Without a config the digits study runs, shows what it is doing, and ends with its table."""
    done = launch("--output_dir", str(tmp_path / "digits"), *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    for line in (
        "teacher timm/test_efficientnet",
        "seed 42: ce",
        "seed 43: exrep",
        "gap recovered %",
        "student before",
    ):
        assert line in done.stdout
    # The default is a plain student.
    assert "distiller" not in done.stdout.split("gap recovered %")[1]
    assert "Written to" in done.stdout.splitlines()[-1]
    results = json.loads((tmp_path / "digits" / "results.json").read_text())
    assert list(results["arms"]) == ["ce", "kd", "exrep"]


def test_errors_name_the_remedy(tmp_path: Path) -> None:
    """A misspelt setting ends the launch with a code that schedulers see, and nothing is written."""
    config = tmp_path / "mine.yaml"
    config.write_text("dataset: digits\nkd_wieght: 1\n")
    done = launch("--config", str(config), "--output_dir", str(tmp_path / "out"))
    assert done.returncode != 0
    assert "did you mean `kd_weight`?" in done.stderr
    assert not (tmp_path / "out").exists()


SINGLE = "--config recipes/digits.yaml --controls none --num_seeds 1 --disable_tqdm true --use_cpu true".split()
SHORT = "--teacher_steps 2 --student_steps 2 --max_steps 5 --max_eval_samples 30 --no_doctor".split()
EACH_STEP = "--save_strategy steps --save_steps 1 --save_total_limit 1 --logging_steps 2".split()


@pytest.mark.parametrize("max_steps", [5, 1])
def test_a_run_that_is_ruined(max_steps: int, processes: Processes, tmp_path: Path) -> None:
    """With the exit code of a success, and a card, others take what it left for a student.

    A run of one step is finite to its last weight, of 1e30, and no answer of its student is.
    """
    out = tmp_path / "out"
    flags = [*SINGLE, *SHORT, *EACH_STEP, "--max_steps", str(max_steps), "--learning_rate", "1e30"]
    done = processes.call("recipes/train.py", *flags, "--output_dir", str(out))
    assert done.returncode != 0
    if max_steps == 5:
        assert "Training ends at step 2: not finite since step 2: " in done.stderr
    else:
        assert "The evaluation of exrep, seed 42, holds figures that are not finite: `loss` = nan" in done.stderr
    left = {path.name for path in out.iterdir()}
    assert left == {"settings.json", "teacher", "students", "checkpoint-1"}
    assert all(tensor.isfinite().all() for tensor in load_file(out / "checkpoint-1" / "model.safetensors").values())
