"""A study whose teacher has no classifier, or whose classifier is left out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from exrep_hf.data import Preprocessing
from exrep_hf.publishing.disagreements import find_disagreements
from exrep_hf.teacher.head_file import HEADS_NAME
from tests.studies import run_study

STUDY: dict[str, Any] = {
    "teacher_from_scratch": False,
    "teacher_steps": 0,
    "student_steps": 3,
    "num_public": 60,
    "ce_weight": 0.0,
    "crd_weight": 0.0,
    "adversarial_weight": 0.0,
    "mixup": 1.0,
    "cutmix": 1.0,
    "distiller": "none",
    "controls": ["ce"],
    "max_steps": 2,
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network without a classifier, in a folder."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    model: Any = ResNetModel(config).train()
    with torch.no_grad():
        model(torch.randn(16, 3, 32, 32))
    model.save_pretrained(folder)
    processor = Preprocessing(32, 32, None, "bilinear", (0.5,) * 3, (0.5,) * 3).to_image_processor()
    processor.save_pretrained(folder)
    return str(folder)


def test_a_probe_for_each_seed(backbone: str, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """Arms share it, its figures stand in results and card, and a study that goes on fits none."""
    folder = tmp_path / "digits"
    results = run_study(folder, teacher=backbone, private_fraction=0.0, **STUDY)
    told = capsys.readouterr().out
    assert told.count("the teacher's head was fitted on 60 images of 10 classes: ") == 2
    heads = [run["teacher_head"] for run in results["arms"]["exrep"]["runs"]]
    assert [run["teacher_head"] for run in results["arms"]["ce"]["runs"]] == heads
    teacher = results["teacher"]
    accuracies = [head["accuracy"] for head in heads]
    assert teacher["head"] == {"kind": "probe", "accuracy": pytest.approx(sum(accuracies) / 2), "images": 60}
    assert heads[0]["sha256"] != heads[1]["sha256"] and accuracies[0] > 0.2
    reached = [run["teacher"]["accuracy"] for run in results["arms"]["exrep"]["runs"]]
    assert teacher["accuracy"] == pytest.approx(sum(reached) / 2) and reached[0] > 0.2
    assert all(run["after"]["teacher_agreement"] >= 0 for run in results["arms"]["exrep"]["runs"])
    card = (folder / "README.md").read_text()
    assert f"fitted on 60 labelled images (cross-validated top-1 {100 * teacher['head']['accuracy']:.1f} %)" in card
    assert sorted(path.name for path in (folder / HEADS_NAME).iterdir()) == [
        "seed42.safetensors",
        "seed43.safetensors",
    ]

    run = results["arms"]["exrep"]["runs"][0]
    differ = round(40 * (1 - run["after"]["teacher_agreement"]))
    found = find_disagreements(folder, backbone, None, None, torch.device("cpu"))
    assert found.told.startswith(f"They differ on {differ} of 40 images: ") and differ > 10
    assert len(found.images) == 24 and all(each.teacher != each.student for each in found.images)
    with pytest.raises(ValueError, match="does not lie beside it and has no weights on the Hub"):
        find_disagreements(folder, None, None, None, torch.device("cpu"))

    def refuse(*args: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr("exrep_hf.study.teaching.fit_head", refuse)
    (folder / "arms" / "exrep-seed43" / "run.json").unlink()
    again = run_study(folder, teacher=backbone, private_fraction=0.0, resume_from_checkpoint="true", **STUDY)
    assert again["teacher"]["head"] == teacher["head"]
    run, before = (each["arms"]["exrep"]["runs"][1] for each in (again, results))
    assert (run["after"], run["teacher"], run["teacher_head"]) == (
        before["after"],
        before["teacher"],
        before["teacher_head"],
    )


@pytest.mark.slow
def test_features_alone(backbone: str, tmp_path: Path) -> None:
    settings = STUDY | {"kd_weight": 0.0, "feature_weight": 1.0, "controls": None, "num_seeds": 1}
    results = run_study(tmp_path / "digits", teacher=backbone, private_fraction=0.0, **settings)
    assert results["teacher"]["head"] == {"kind": "none"} and results["teacher"]["accuracy"] is None
    assert "kd" in results["controls_left_out"] and list(results["arms"]) == ["ce", "exrep"]


def test_what_can_not_be_had(backbone: str, tmp_path: Path) -> None:
    given = STUDY | {"teacher": backbone, "private_fraction": 0.0, "num_seeds": 1}
    with pytest.raises(ValueError, match="`teacher_head` is 'own', and the teacher, a OnlineTeacher, has no classif"):
        run_study(tmp_path / "a", **given, teacher_head="own")
    with pytest.raises(ValueError, match="`teacher_head` is 'none' and `kd_weight` is"):
        run_study(tmp_path / "b", **given, teacher_head="none")
    with pytest.raises(ValueError, match="`controls.kd` changes .*teacher_head"):
        run_study(tmp_path / "c", **given | {"controls": {"kd": {"teacher_head": "own"}}})
    assert not any((tmp_path / name / "results.json").exists() for name in "abc")


@pytest.mark.slow
def test_the_head_of_a_teacher_that_is_trained_here_is_replaced(tmp_path: Path) -> None:
    settings = STUDY | {"num_seeds": 1, "controls": "none", "teacher_from_scratch": True, "teacher_steps": 4}
    results = run_study(tmp_path / "digits", private_fraction=0.0, teacher_head="probe", **settings)
    assert results["teacher"]["head"]["kind"] == "probe"
    assert json.loads((tmp_path / "digits" / "results.json").read_text())["teacher"]["head"]["images"] == 60
