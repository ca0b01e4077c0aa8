"""What the README says is run, with its names replaced by what lies on this machine."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from exrep_hf import DistillationArguments
from exrep_hf.arguments.preset import read_preset
from exrep_hf.data import Augmentation
from exrep_hf.models import load_classifier
from tests.image_folders import write_noise

ROOT = Path(__file__).parents[1]
CLASSES = ("ant", "bee", "cat")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images of three classes, a teacher and a student."""
    write_noise(tmp_path / "imagenet", ("train", "test"), CLASSES, 4)
    for name in ("teacher", "student"):
        classifier = load_classifier("timm/test_efficientnet", id2label=dict(enumerate(CLASSES)), pretrained=False)
        classifier.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ten_lines_of_python(workplace: Path) -> None:
    """A snippet that doesn't run is the first thing a newcomer meets."""
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names = {
        "timm/tf_efficientnet_b1.aa_in1k": str(workplace / "student"),
        "timm/tf_efficientnet_b1.ns_jft_in1k": str(workplace / "teacher"),
        'eval_strategy="epoch"': 'eval_strategy="epoch", num_train_epochs=1, use_cpu=True',
    }
    for name, local in names.items():
        assert name in code
        code = code.replace(name, local)
    variables: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), variables)
    assert (workplace / "out" / "b1" / "model.safetensors").is_file()
    given: Any = variables["trainer"]
    usual = DistillationArguments(output_dir="-", use_cpu=True)
    for setting, value in read_preset("exrep").settings_of(DistillationArguments).items():
        assert value is None or getattr(given.args, setting) == getattr(usual, setting), setting
    assert given.train_dataset.dataset.transform.augmentation == Augmentation.from_preset("exrep")
    assert type(variables["plain"]).__name__ == "TimmWrapperForImageClassification"


def test_commands_name_what_is_there() -> None:
    """`make demo`, `make test` and the files that the README links exist."""
    makefile = (ROOT / "Makefile").read_text()
    assert "make demo" in README
    assert "make test" in README
    assert re.search(r"^demo:", makefile, flags=re.MULTILINE)
    assert re.search(r"^test:", makefile, flags=re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) >= 2
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert shutil.which("make") is not None


def test_it_can_be_read_in_one_go() -> None:
    """A newcomer reads two screens; the rest stands beside what it explains."""
    assert len(README.encode()) <= 8000
    assert [line for line in README.splitlines() if len(line) > 120] == []


def test_pages_link_what_is_there() -> None:
    """A link that leads nowhere ends the reading."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("recipes/**/*.md"), ROOT / "model_cards" / "README.md"]
    assert len(pages) >= 6
    for page in pages:
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        local = [link for link in links if not link.startswith("http")]
        assert [link for link in local if not (page.parent / link).exists()] == [], page


def test_options_exist() -> None:
    """An option in the table that is gone from the code sends people searching, and so does a wrong default."""
    from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments

    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8").split("## Options that matter")[1]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", table, flags=re.MULTILINE)
    assert len(rows) > 15
    fields = {
        name: field.default
        for cls in (ModelArguments, DataArguments, StudyArguments, DistillationArguments)
        for name, field in cls.__dataclass_fields__.items()
    }
    for named, defaults in rows:
        names = re.findall(r"`(\w+)`", named)
        assert set(names) <= fields.keys()
        stated = [value.strip(" `") for value in defaults.split(",")]
        numbers = [(name, value) for name, value in zip(names, stated, strict=False) if re.fullmatch(r"[\d.]+", value)]
        assert [(name, float(value)) for name, value in numbers] == [(name, fields[name]) for name, _ in numbers]
