"""What `import exrep_hf` brings with it, and what it still does."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import ResNetConfig, ResNetForImageClassification

import exrep_hf
import exrep_hf.models
from exrep_hf import ExRepForImageClassification

ROOT = Path(__file__).parent.parent
SLOW = ("sklearn", "matplotlib", "evaluate")
# What trains: seconds, for those who ask for the flags or load a configuration.
TRAINING = ("timm", "torchvision", "datasets", "pandas", "transformers.trainer", "exrep_hf.training", "exrep_hf.study")


def printed(code: str) -> str:
    """Return the last line that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_slow_packages_are_not_imported() -> None:
    """scikit-learn alone took most of a second, for those who split a data set or ask for its digits."""
    code = f"import sys; from exrep_hf import *; print([name for name in {SLOW} if name in sys.modules])"
    assert printed(code) == "[]"


@pytest.mark.parametrize("script", ["train", "cache_teacher"])
def test_help_needs_nothing_that_trains(script: str) -> None:
    """It took as long as a start, four seconds more than the settings of transformers themselves."""
    code = f"""
import runpy, sys
sys.argv = ["{script}.py", "--help"]
try:
    runpy.run_path("recipes/{script}.py", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print([name for name in {(*SLOW, *TRAINING)} if name in sys.modules])
"""
    assert printed(code) == "[]"


def test_transformers_knows_our_models(tmp_path: Path) -> None:
    """By the import alone, as cards say, although no network was imported with it."""
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    backbone = ResNetForImageClassification(config)
    ExRepForImageClassification.from_backbone(backbone, distiller="light", image_size=16).save_pretrained(tmp_path)
    code = f"""
import sys
import exrep_hf
assert "timm" not in sys.modules
from transformers import AutoModelForImageClassification
print(type(AutoModelForImageClassification.from_pretrained({str(tmp_path)!r})).__name__)
"""
    assert printed(code) == "ExRepForImageClassification"


@pytest.mark.parametrize("package", [exrep_hf, exrep_hf.models])
def test_every_name_is_there(package: object) -> None:
    """Names that are imported when they are asked for can be forgotten in one of the lists."""
    names: list[str] = package.__all__  # type: ignore[attr-defined]
    for name in names:
        assert getattr(package, name).__name__ == name or name in ("TextWeights", "Features")
    assert set(names) <= set(dir(package)) or package is exrep_hf.models
    with pytest.raises(AttributeError, match="module 'exrep_hf.*' has no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(package, "_nothing") and not hasattr(package, "__wrapped__")


def test_modules_of_the_package_need_no_import_of_their_own() -> None:
    assert printed("import exrep_hf; print(exrep_hf.losses.KDLoss.__name__, exrep_hf.data.Mixing.__name__)") == (
        "KDLoss Mixing"
    )
