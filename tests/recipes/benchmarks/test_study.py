"""The whole table in miniature, by its own command line, interrupted and gone on with."""

import json
from pathlib import Path

from tests.processes import Processes

ROOT = Path(__file__).parents[3]
SMALL = (
    "--teacher_steps 3 --student_steps 2 --max_steps 2 --num_seeds 2 --logging_steps 1 "
    "--per_device_train_batch_size 16 --use_cpu true --disable_tqdm true"
).split()


def test_parts_add_up(images: Path, tmp_path: Path, processes: Processes) -> None:
    """A part first, then more: what is finished stays as it is, and the table holds both."""

    def run(*flags: str) -> str:
        places = ["--data_dir", str(images), "--output_dir", str(tmp_path / "out")]
        places += ["--results_dir", str(tmp_path / "results")]
        done = processes.call("recipes/benchmarks/study.py", *places, *SMALL, *flags)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    small = str(ROOT / "recipes" / "fashion_mnist" / "small")
    run("--sizes", "40", "--students", small, "--arms", "oracle", "exrep")
    first = json.loads((tmp_path / "results" / "fashion_mnist.json").read_text())
    assert first.keys() == {"small"} and first["small"]["40"]["arms"].keys() == {"oracle", "exrep"}
    teacher = tmp_path / "out" / "teacher" / "model.safetensors"
    written = teacher.stat().st_mtime_ns
    shown = run("--sizes", "40", "60", "--students", small, "--arms", "kd-only", "oracle", "exrep")
    both = json.loads((tmp_path / "results" / "fashion_mnist.json").read_text())
    assert teacher.stat().st_mtime_ns == written
    assert both["small"].keys() == {"40", "60"}
    assert both["small"]["40"]["arms"]["exrep"]["runs"] == first["small"]["40"]["arms"]["exrep"]["runs"]
    assert both["small"]["40"]["arms"]["kd-only"]["runs"][1]["steps"] == 2
    assert "history" not in json.dumps(both)
    assert "60 public images | 40 public images" in shown and str(tmp_path) not in json.dumps(both)
    table = shown[shown.index("small student") :]
    assert table in run("--collect_only")
    assert (tmp_path / "results" / "fashion_mnist.png").stat().st_size > 1000
