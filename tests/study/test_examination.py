"""A study is looked at before hours are spent on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from exrep_hf.cli import parse_settings
from exrep_hf.commands import doctor
from exrep_hf.doctor import Finding
from exrep_hf.models import load_classifier
from exrep_hf.study import Study
from exrep_hf.study.examination import examine_study
from tests.hub_server import Hub
from tests.study.conftest import flags_of

NOTHING = {"kd_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0}
QUICK: dict[str, Any] = {"controls": "none", "num_seeds": 1, "teacher_steps": 6, "student_steps": 3}


def examined(folder: Path, **changes: Any) -> list[Finding]:
    return examine_study(parse_settings(flags_of(folder, **QUICK | changes), folder))


def told(findings: list[Finding], level: str) -> str:
    return "\n".join(finding.what for finding in findings if finding.level == level)


def test_the_demo(tmp_path: Path) -> None:
    """All runs of it together; a teacher that is still to be trained is not scored."""
    findings = examined(tmp_path / "out", controls=None, num_seeds=3)
    assert [finding for finding in findings if finding.level != "fine"] == []
    page = told(findings, "fine")
    assert "9 runs about" in page and "the teacher is right" not in page
    assert not (tmp_path / "out" / "settings.json").exists()


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier of other things."""
    folder = tmp_path_factory.mktemp("animals")
    names = {number: f"animal {number}" for number in range(10)}
    load_classifier("timm/test_efficientnet", id2label=names, pretrained=False).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"dataset": "no/such"}, "no/such"),
        ({"student": "no/such"}, "no/such"),
        ({"student_steps": 0}, "`student_from_scratch` is set but `student_steps` is 0"),
        ({"student": "animals", "student_from_scratch": False, "student_steps": 0}, "`--student_new_head`"),
        ({"teacher": "animals", "teacher_from_scratch": False, "teacher_steps": 0}, "can't be run with seed 42"),
        ({"teacher": "animals", "teacher_steps": 0, "teacher_from_scratch": False, "classes": "position"}, "guessing"),
        (
            {"controls": {"mine": {"kd_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0}}},
            "there is nothing to train",
        ),
        ({"controls": {"mine": {"seed": 1}}}, "all arms of a study have to share"),
        ({"learning_rate": 5.0}, "too high for adamw"),
        ({"optim": "sgd", "learning_rate": None}, "`learning_rate` is not given and `optim` is 'sgd'"),
    ],
)
def test_what_would_waste_it(changes: dict[str, Any], what: str, animals: str, tmp_path: Path) -> None:
    """What the study itself refuses is told in the same way."""
    changes = {name: animals if value == "animals" else value for name, value in changes.items()}
    assert what in told(examined(tmp_path / "out", **changes), "waste")


def test_a_folder_with_a_run(tmp_path: Path) -> None:
    """Nothing of it would be lost, and a run would not begin."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text("{}")
    assert "holds another run" in told(examined(tmp_path / "out"), "warning")
    assert "another run" not in told(examined(tmp_path / "out", overwrite_output_dir=True), "warning")


def test_access_to_the_hub(tmp_path: Path, hub: Hub) -> None:
    """Asked for where the student is to be pushed, and nothing is made."""
    findings = examined(tmp_path / "out", push_to_hub=True, hub_model_id="me/examined")
    assert "can be pushed to me/examined" in told(findings, "fine") and told(findings, "waste") == ""
    assert not HfApi().repo_exists("me/examined")
    findings = examined(tmp_path / "out", push_to_hub=True, hub_token="hf_wrong")
    assert "to the model 'out': The token is missing or not valid" in told(findings, "waste")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page, or JSON for programs; it ends with 1 where the run would be wasted."""
    with pytest.raises(SystemExit, match="0"):
        doctor.main(flags_of(tmp_path / "out", **QUICK))
    page = capsys.readouterr().out
    assert page.endswith("nothing that would waste the run; 0 to think about\n") and len(page.splitlines()) <= 25
    with pytest.raises(SystemExit, match="1"):
        doctor.main([*flags_of(tmp_path / "out", **QUICK | {"learning_rate": 5.0}), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["wasted"] and [each["level"] for each in found["findings"]].count("waste") == 1


def test_a_study_begins_with_a_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends before anything is trained or replaced, and says how to begin all the same."""
    folder = tmp_path / "out"
    changes = QUICK | {"max_steps": 4, "mixup": 1.0, "crd_weight": 0.0}
    with pytest.raises(ValueError, match=r"would be wasted: the learning rate is 5, too high .* `--no_doctor`"):
        Study(parse_settings(flags_of(folder, **changes | {"learning_rate": 5.0}), folder)).run()
    assert "4 steps are few" not in capsys.readouterr().out and not (folder / "teacher").exists()
    # A teacher that was trained here is scored when it is there.
    wrong = changes | {"teacher_steps": 1, "pretraining_learning_rate": 1e-9}
    found = "would be wasted: the teacher is right about .*, as good as guessing.*`--resume_from_checkpoint true`"
    with pytest.raises(ValueError, match=found):
        Study(parse_settings(flags_of(folder, **wrong), folder)).run()
    printed = capsys.readouterr().out
    assert printed.count("doctor: 4 steps are few for mixed images") == 1 and (folder / "teacher").is_dir()
    flags = flags_of(folder, **wrong | {"no_doctor": True, "overwrite_output_dir": True})
    assert Study(parse_settings(flags, folder)).run()["arms"]
    assert "doctor" not in capsys.readouterr().out
