"""The whole table in miniature, by its own command line, interrupted and gone on with."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes import Processes

BENCHMARKS = Path(__file__).parents[3] / "recipes" / "benchmarks"
SMALL = (
    "--student_steps 2 --num_seeds 1 --logging_steps 1 --per_device_train_batch_size 16 --use_cpu true "
    "--disable_tqdm true"
).split()


def test_parts_add_up(
    images: Path,
    tmp_path: Path,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A part first, then more: what is finished stays as it is, and the table holds both; others are refused."""
    places = ["--data_dir", str(images), "--output_dir", str(tmp_path / "out"), "--steps", "2"]
    places += ["--results_dir", str(tmp_path / "results")]
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    study = importlib.import_module("study")

    def here(*flags: str) -> str:
        """What trains nothing needs no process of its own."""
        study.main([*places, *SMALL, *flags])
        return capsys.readouterr().out

    def run(*flags: str, fails: bool = False) -> str:
        done = processes.call("recipes/benchmarks/study.py", *places, *SMALL, *flags)
        assert (done.returncode != 0) is fails, done.stderr[-3000:]
        return done.stderr if fails else done.stdout

    def arms(column: int) -> dict[str, Any]:
        return dict(json.loads((tmp_path / "results" / "fashion_mnist.json").read_text())["columns"][column]["arms"])

    run("--sizes", "40", "--arms", "oracle-kd", "oracle-labels", "exrep", "--jobs", "2")
    first = arms(0)
    assert first.keys() == {"oracle-kd", "oracle-labels", "exrep"}
    records = tmp_path / "results" / "runs" / "fashion_mnist"
    kept = {path: path.read_bytes() for path in records.rglob("*.json")}
    assert len(kept) == 3
    shown = run("--sizes", "40", "60", "--arms", "kd-only", "exrep")
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert arms(0)["exrep"]["accuracy"] == first["exrep"]["accuracy"]
    assert arms(0).keys() == {"kd-only", *first} and arms(1).keys() == {"kd-only", "exrep"}
    for arm in ("kd-only", "exrep"):
        record = json.loads((records / "small-60-2" / f"{arm}-seed42.json").read_text())
        assert record["steps"] == 2 and "history" not in record
        error = arms(1)[arm]["expected_calibration_error"]["mean"]
        assert record["after"]["expected_calibration_error"] == pytest.approx(error) and 0 < error < 1
        assert str(tmp_path) not in json.dumps(record)
    assert "40 public images | 60 public images" in shown
    table = shown[shown.index("small student") :]
    assert table in here("--collect_only")
    # There is an oracle at one size alone, and so no line.
    assert not (tmp_path / "results" / "fashion_mnist.png").exists()
    with pytest.raises(ValueError, match="had other settings: `learning_rate`"):
        here("--sizes", "40", "--learning_rate", "0.5")
    path = records / "small-40-2" / "exrep-seed42.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"before": {"accuracy": 0.99}}))
    told = run("--sizes", "40", "--arms", "kd-mixed", fails=True)
    assert "exrep from one of 99.00 %" in told and "Traceback" not in told
    assert not (path.parent / "kd-mixed-seed42.json").exists()
    path.write_bytes(kept[path])
    other = tmp_path / "diverged"
    diverging = (
        "--sizes",
        "40",
        "--arms",
        "exrep",
        "kd-mixed",
        "--learning_rate",
        "1e25",
        "--results_dir",
        str(other),
    )
    told = run(*diverging, fails=True)
    assert "1 of 1 failed: small-40-2, seed 42, exrep kd-mixed (status 1)" in told and "are NaN or infinite" in told
    assert [path.name for path in other.rglob("*-seed*.json")] == ["kd-mixed-seed42.json"]
    assert "had other settings: `student_steps` 2 then, 3 now" in run(
        *("--sizes", "40", "--student_steps", "3", "--arms", "ce", "--results_dir", str(tmp_path / "other")),
        fails=True,
    )


def test_one_that_fails_stops_no_other() -> None:
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import study; "
    code += "study.side_by_side(1, {'one': (sys.exit, (3,)), 'two': (print, ('was run',))})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.splitlines() == ["was run", "two: done"]
    assert "RuntimeError: 1 of 2 failed: one (status 3); what they said stands above." in done.stderr


@pytest.mark.slow
def test_ending_it_ends_its_runs() -> None:
    code = f"import sys, time; sys.path.insert(0, {str(BENCHMARKS)!r}); import study; print('up', flush=True); "
    code += "study.side_by_side(2, {'one': (time.sleep, (300,)), 'two': (time.sleep, (300,))})"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    deadline = time.monotonic() + 60
    runs: list[psutil.Process] = []
    while len(runs) < 2 and time.monotonic() < deadline:
        children = psutil.Process(command.pid).children(recursive=True)
        runs = [child for child in children if any("spawn_main" in part for part in child.cmdline())]
        time.sleep(0.1)
    assert len(runs) == 2
    command.terminate()
    assert command.wait(60) != 0
    _, left = psutil.wait_procs(runs, timeout=60)
    for run in left:
        run.kill()
    assert not left
