"""Which controls are run beside the method."""

from pathlib import Path
from typing import Any

import pytest

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.cli import parse_settings
from exrep_hf.finite import NonFiniteError
from exrep_hf.study import Study
from exrep_hf.study.arms import Arm, make_arms
from exrep_hf.study.controls import LONGEST_CONTROLS, remedy, share_length, too_long
from tests.studies import run_study


def arms_of(folder: Path, **settings: Any) -> list[Arm]:
    args = DistillationArguments(output_dir=str(folder), use_cpu=True, report_to="none", **settings)
    return make_arms(ModelArguments(), DataArguments(), StudyArguments(), args)


def test_all_arms_take_as_many_steps(tmp_path: Path) -> None:
    """A length that each arm chose for itself would give controls another budget."""
    arms = arms_of(tmp_path)
    share_length(arms, 500, starts_from_nothing=False)
    assert [arm.args.max_steps for arm in arms] == [1500] * 3
    args = DistillationArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    share_length(make_arms(ModelArguments(), DataArguments(), StudyArguments(), args), 500, starts_from_nothing=False)
    assert args.max_steps == -1, "what is chosen must not stand in the card as if it had been given"
    arms = arms_of(tmp_path, num_train_epochs=2)
    share_length(arms, 500, starts_from_nothing=False)
    assert [(arm.args.max_steps, arm.args.num_train_epochs) for arm in arms] == [(-1, 2)] * 3


def test_controls_of_hours_have_to_be_asked_for(tmp_path: Path) -> None:
    """Three runs where one was wanted are a surprise on a cluster's bill."""
    arms = arms_of(tmp_path)
    assert too_long(arms, num_seeds=1, seconds_per_run=LONGEST_CONTROLS / 2) == {}
    left_out = too_long(arms, num_seeds=2, seconds_per_run=LONGEST_CONTROLS / 2)
    assert left_out.keys() == {"ce", "kd"}
    assert left_out["ce"] == "about 4.0 h in all, more than two hours: ask for them with `--controls '[ce, kd]'`"


@pytest.mark.parametrize(
    ("settings", "steps", "advice"),
    [
        ({"max_steps": 300}, 300, "300 steps are few for mixed images: train longer, or with `--mixup 0 --cutmix 0`"),
        ({"ce_weight": 1.0}, 2000, "try `--ce_weight 0`"),
        ({"mixup": 0, "cutmix": 0, "freeze_batch_norm": True}, 2000, "Try `--freeze_batch_norm false`"),
        ({}, 2000, "such as `--learning_rate 0.001`"),
    ],
)
def test_a_student_that_got_worse(tmp_path: Path, settings: dict[str, Any], steps: int, advice: str) -> None:
    """A run that ends below its start says so, with the nearest remedy."""
    arm = arms_of(tmp_path, **settings)[-1]
    chosen = {"learning_rate": 0.003, "freeze_batch_norm": bool(arm.args.freeze_batch_norm), "max_steps": steps}
    record = {"before": {"accuracy": 0.8}, "after": {"accuracy": 0.7}, "steps": steps, "chosen": chosen}
    told = remedy(record, arm)
    assert told is not None and told.startswith("`exrep` ends below its start: top-1 0.800 → 0.700. ")
    assert advice in told
    assert remedy(record | {"after": {"accuracy": 0.8}}, arm) is None


def test_default_controls_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ce` and `kd` stand in the table without being asked for; one that equals the arm is left out by name."""
    method = {"distiller": "none", "crd_weight": 0, "adversarial_weight": 0, "num_seeds": 1}
    results = run_study(tmp_path / "kd", arm="kd", controls=None, ce_weight=1.0, **method)
    assert list(results["arms"]) == ["ce", "kd"] and results["published"]["arm"] == "kd"
    results = run_study(tmp_path / "mine", arm="mine", controls=None, ce_weight=1.0, **method)
    assert list(results["arms"]) == ["ce", "mine"]
    assert results["controls_left_out"] == {"kd": "it is what `mine` does"}
    assert "the control kd is left out: it is what `mine` does" in capsys.readouterr().out
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "The control `kd` was left out: it is what `mine` does" in card and "No controls" not in card
    results = run_study(tmp_path / "alone", controls="none", ce_weight=1.0, **method)
    assert list(results["arms"]) == ["exrep"]
    assert "No controls: what labels alone" in (tmp_path / "alone" / "README.md").read_text()


def test_long_default_controls_stay_out_when_the_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A faster machine must not add arms, or move folders, in the middle of a study."""
    monkeypatch.setattr("exrep_hf.study.controls._WORTH_A_TRIAL", 4)
    monkeypatch.setattr("exrep_hf.study.controls.LONGEST_CONTROLS", 0)
    settings = {"controls": None, "num_seeds": 1, "student_steps": 2, "teacher_steps": 2}
    results = run_study(tmp_path / "digits", **settings)
    assert list(results["arms"]) == ["exrep"]
    assert "ask for them with `--controls '[ce, kd]'`" in results["controls_left_out"]["kd"]
    monkeypatch.setattr("exrep_hf.study.controls.LONGEST_CONTROLS", 7200)
    config = tmp_path / "digits.yaml"
    resumed = Study(parse_settings(["--config", str(config), "--resume_from_checkpoint", "true"], config)).run()
    assert list(resumed["arms"]) == ["exrep"]
    asked = ["--config", str(config), "--resume_from_checkpoint", "true", "--controls", "[ce, kd]"]
    assert list(Study(parse_settings(asked, config)).run()["arms"]) == ["ce", "kd", "exrep"]


def test_the_method_itself_is_never_left_out(tmp_path: Path) -> None:
    """A method that can't be run is an error, also where its controls could."""
    with pytest.raises(ValueError, match="The arm `exrep` can't be run with seed 42"):
        run_study(tmp_path / "digits", controls=None, num_seeds=1, optim="sgd", learning_rate=None)


def test_a_control_that_diverges_says_how_the_study_goes_on(tmp_path: Path) -> None:
    """Else hours of finished arms are thrown away for one whose learning rate was a try."""
    settings: dict[str, Any] = {"distiller": "none", "crd_weight": 0.0, "adversarial_weight": 0.0, "num_seeds": 1}
    kept, tried = {"kd_weight": 2.0}, {"learning_rate": 1e30}
    with pytest.raises(NonFiniteError, match=r"^tried, seed 42: .*change `controls\.tried` or leave it out"):
        run_study(tmp_path / "out", **settings, controls={"kept": kept, "tried": tried})
    record = tmp_path / "out" / "arms" / "kept-seed42" / "run.json"
    written = record.stat().st_mtime_ns
    results = run_study(tmp_path / "out", **settings, controls={"kept": kept}, resume_from_checkpoint="true")
    assert results["arms"].keys() == {"kept", "exrep"}
    assert record.stat().st_mtime_ns == written, "what was finished is not trained again"


def test_a_method_that_diverges_is_not_to_be_left_out(tmp_path: Path) -> None:
    """Other settings of the method are other settings of all its arms."""
    with pytest.raises(NonFiniteError, match=r"^exrep, seed 42: .*stay as they are\.$"):
        run_study(tmp_path / "out", controls="none", num_seeds=1, learning_rate=1e30)
