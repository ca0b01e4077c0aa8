"""What is installed is all that the package needs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_data_files_are_in_the_wheel(tmp_path: Path) -> None:
    """From a checkout everything works; an installed package without its presets, cards and metrics would not."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "exrep_hf", tmp_path / "exrep_hf", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("exrep_hf/")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exrep_hf").rglob("*") if path.is_file()}
    assert there - installed - {name for name in there if "__pycache__" in name} == set()
    assert "exrep_hf/presets/exrep-paper.yaml" in installed
