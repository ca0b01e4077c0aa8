"""The short scripts of `recipes/examples`, on tiny networks and a few images."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from transformers import AutoModelForImageClassification

from exrep_hf.models import load_classifier
from tests.image_folders import write_noise

CLASSES = ("ant", "bee", "cat")
EXAMPLES = Path(__file__).parents[2] / "recipes" / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """A teacher of other classes, and a student."""
    for name, classes in (("teacher", ["sun", "moon"]), ("student", ["a", "b", "c", "d"])):
        classifier = load_classifier("timm/test_efficientnet", id2label=dict(enumerate(classes)), pretrained=False)
        classifier.save_pretrained(tmp_path / name)
    return str(tmp_path / "teacher"), str(tmp_path / "student")


def make_images(folder: Path, parts: tuple[str, ...]) -> str:
    write_noise(folder, parts, CLASSES, 10)
    return str(folder)


@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
def test_own_folder(
    parts: tuple[str, ...], models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders with and without a test part; what is saved says the folder's classes."""
    folder = make_images(tmp_path / "images", parts)
    example("own_folder").main(folder, *models, str(tmp_path / "out"), max_steps=2, use_cpu=True)
    told = capsys.readouterr().out
    assert "top-1 0." in told and any(f"'label': '{name}'" in told for name in CLASSES)
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert saved.config.id2label == {0: "ant", 1: "bee", 2: "cat"}


def test_headless_teacher(models: tuple[str, str], tmp_path: Path) -> None:
    """Both ways, a student each."""
    folder = make_images(tmp_path / "images", ("train", "test"))
    reached = example("headless_teacher").main(folder, *models, str(tmp_path / "out"), max_steps=2, use_cpu=True)
    assert reached.keys() == {"probe", "none"} and all(0 <= value <= 1 for value in reached.values())
    assert {path.name for path in (tmp_path / "out").iterdir() if (path / "model.safetensors").is_file()} == {
        "probe",
        "none",
    }


def test_own_term(tmp_path: Path) -> None:
    """The term is logged by its name, and counts by its weight."""
    logged = example("own_term").main(str(tmp_path / "out"), max_steps=5)
    parts = logged["loss_kd"] + 10 * logged.get("loss_feature", 0.0) + 2 * logged["loss_relations"]
    assert logged["loss_relations"] > 0 and logged["loss"] == pytest.approx(parts, rel=1e-3)
