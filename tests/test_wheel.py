"""What is installed is all that the package needs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "exrep_hf", folder / "exrep_hf", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=folder, check=True, capture_output=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_data_files_are_in_the_wheel(wheel: Path) -> None:
    """From a checkout everything works; an installed package without its presets, cards and metrics would not."""
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("exrep_hf/")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exrep_hf").rglob("*") if path.is_file()}
    assert there - installed - {name for name in there if "__pycache__" in name} == set()
    assert {"exrep_hf/presets/exrep-paper.yaml", "exrep_hf/examples/digits.yaml"} <= installed


@pytest.mark.slow
def test_installed_it_runs_in_a_folder_that_holds_nothing(wheel: Path, tmp_path: Path) -> None:
    """What people type after an installation: the demo, and a look at its card, far from any checkout.

    Other packages are those of this environment, which is not where exrep_hf is taken from.
    """
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    venv.create(environment, with_pip=True)
    tools = environment / "bin"
    subprocess.run([tools / "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], check=True, timeout=300)
    others = os.environ | {"PYTHONPATH": sysconfig.get_paths()["purelib"], "OMP_NUM_THREADS": "1"}

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=others, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    where = call(str(tools / "python"), "-c", "import exrep_hf; print(exrep_hf.__file__)")
    assert where.startswith(str(environment))
    exrep = str(tools / "exrep")
    assert "train" in call(exrep)
    quick = (
        "--num_seeds",
        "1",
        "--controls",
        "none",
        "--teacher_steps",
        "20",
        "--student_steps",
        "5",
        "--max_steps",
        "5",
    )
    told = call(exrep, "train", "--config", "digits", *quick, "--use_cpu", "--no_doctor", "--output_dir", "out")
    assert "student before" in told
    assert "exrep train --config recipe.yaml --output_dir out" in (folder / "out" / "README.md").read_text()
    assert "dataset: digits" in (folder / "out" / "recipe.yaml").read_text()
    assert "figures reproduced" in call(exrep, "verify", "out", "--use_cpu")
    assert '"accuracy"' in call(
        exrep, "evaluate", "--model", "out", "--dataset", "digits", "--split", "test", "--use_cpu"
    )
    assert {path.name for path in folder.iterdir()} == {"out"}
