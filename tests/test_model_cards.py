"""The students that are shipped do what their cards say."""

import json
import tempfile
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification

from exrep_hf.data.idx import has_idx_files
from exrep_hf.publishing.student import push_student, student_files
from exrep_hf.publishing.verify import verify_card
from tests.hub_server import Hub

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "model_cards").glob("*/config.json"))
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
each_student = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def test_there_are_students() -> None:
    """An empty folder would make the checks below pass on nothing."""
    assert len(FOLDERS) >= 2


@each_student
def test_every_claim_is_reproduced(folder: Path) -> None:
    """A card whose numbers belong to other weights is worse than no card."""
    data_dir = None
    if json.loads((folder / "results.json").read_text())["dataset"]["name"] == "fashion_mnist":
        if not FASHION_MNIST.is_dir() or not has_idx_files(FASHION_MNIST):
            pytest.skip("Debian's package dataset-fashion-mnist is not installed")
        data_dir = str(FASHION_MNIST)
    verdicts = verify_card(str(folder), data_dir=data_dir)
    assert len(verdicts) >= 3 and [verdict for verdict in verdicts if not verdict.holds] == []


def test_beside_folders_of_the_data_sets_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A student named `digits` is no data set, though it lies where the data set's name points to."""
    monkeypatch.chdir(FOLDERS[0].parent)
    assert Path("digits").is_dir() and all(verdict.holds for verdict in verify_card("digits_plain"))


@each_student
def test_as_it_would_be_pushed(folder: Path, hub: Hub) -> None:
    """Whole, small, and unchanged by the push."""
    files = student_files(folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(files)
    assert {"results.json", "loss.png", "reliability.png"} <= set(files)
    assert max((folder / name).stat().st_size for name in files if name.endswith("safetensors")) <= 2e6
    push_student(folder, f"me/{folder.name}")
    there = AutoModelForImageClassification.from_pretrained(f"me/{folder.name}").state_dict()
    here = AutoModelForImageClassification.from_pretrained(folder).state_dict()
    assert there.keys() == here.keys() and all(there[name].equal(here[name]) for name in here)


@each_student
def test_nothing_of_the_machine_is_in_it(folder: Path) -> None:
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for trace in (str(Path.home()), tempfile.gettempdir() + "/", "hf_token"):
            assert trace.encode() not in content, (path.name, trace)
