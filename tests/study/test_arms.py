"""Arms differ in what they say, and in nothing else."""

from pathlib import Path
from typing import Any

import pytest

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.study.arms import equal_arms, make_arms

CONTROLS = {
    "ce": {"ce_weight": 1.0, "kd_weight": 0, "distiller": "none", "train_on": "all"},
    "kd": {"feature_weight": 0, "learning_rate": "1e-2", "critic_learning_rate": "1e-3", "freeze_batch_norm": "false"},
}


def arms_of(controls: dict[str, Any], folder: Path) -> list[Any]:
    args = DistillationArguments(output_dir=str(folder), kd_weight=2.0, learning_rate=0.1, max_steps=9)
    return make_arms(
        ModelArguments(distiller="paper"),
        DataArguments(hflip=0.2, num_public=10),
        StudyArguments(controls=controls),
        args,
    )


def test_controls_come_first_and_change_only_what_they_name(tmp_path: Path) -> None:
    """An override that leaks into another arm makes the comparison worthless."""
    ce, kd, exrep = arms_of(CONTROLS, tmp_path)
    assert [ce.name, kd.name, exrep.name] == ["ce", "kd", "exrep"]
    assert (ce.args.kd_weight, ce.model_args.distiller, ce.args.learning_rate) == (0, "none", 0.1)
    assert (kd.args.kd_weight, kd.model_args.distiller, kd.args.learning_rate) == (2.0, "paper", 0.01)
    assert (kd.args.critic_learning_rate, kd.args.freeze_batch_norm) == (0.001, False)
    assert (ce.data_args.train_on, kd.data_args.train_on, ce.data_args.hflip) == ("all", "public", 0.2)
    assert (exrep.args.kd_weight, exrep.model_args.distiller, exrep.args.learning_rate) == (2.0, "paper", 0.1)


def test_an_oracle_has_to_be_one(tmp_path: Path) -> None:
    """An oracle with more steps, or without more images, or a method that sees private images, compares nothing."""
    oracle = {"train_on": "all"}
    args = DistillationArguments(output_dir=str(tmp_path), num_train_epochs=3)
    study, private = StudyArguments(controls={"oracle": oracle}), DataArguments(num_public=10)
    with pytest.raises(ValueError, match="`controls.oracle` trains on all images.*`num_train_epochs` is 3"):
        make_arms(ModelArguments(), private, study, args)
    args.max_steps = 5
    assert [arm.data_args.train_on for arm in make_arms(ModelArguments(), private, study, args)] == ["all", "public"]
    with pytest.raises(ValueError, match="but no image is private"):
        make_arms(ModelArguments(), DataArguments(), study, args)
    with pytest.raises(ValueError, match="`train_on` is 'all' for the method itself"):
        make_arms(ModelArguments(), DataArguments(num_public=10, train_on="all"), StudyArguments(), args)
    two = make_arms(ModelArguments(), private, StudyArguments(controls={"one": oracle, "two": oracle}), args)
    assert [arm.is_oracle for arm in two] == [True, True, False]


def default_arms(folder: Path, preset: str = "exrep", **changes: Any) -> list[Any]:
    args = DistillationArguments.from_preset(preset, output_dir=str(folder), learning_rate=0.1)
    study = StudyArguments(**{name: changes.pop(name) for name in ("arm", "controls") if name in changes})
    return make_arms(ModelArguments(distiller="light", **changes), DataArguments(), study, args)


def test_labels_and_plain_distillation_are_run_by_default(tmp_path: Path) -> None:
    """The README's first paragraph promises them beside every result."""
    ce, kd, exrep = default_arms(tmp_path)
    assert [arm.name for arm in (ce, kd, exrep)] == ["ce", "kd", "exrep"]
    weights = [(arm.args.ce_weight, arm.args.kd_weight, arm.args.mixup, arm.args.cutmix) for arm in (ce, kd, exrep)]
    assert weights == [(1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (0.0, 1.0, 1.0, 1.0)]
    assert [arm.model_args.distiller for arm in (ce, kd, exrep)] == ["none", "none", "light"]
    assert all(arm.args.learning_rate == 0.1 for arm in (ce, kd, exrep))


def test_an_arm_is_called_by_its_preset(tmp_path: Path) -> None:
    """Plain distillation that stands as `exrep` in table and card is a false claim."""
    assert [arm.name for arm in default_arms(tmp_path, "kd")] == ["ce", "kd"]
    assert [arm.name for arm in default_arms(tmp_path, "kd", arm="mine")] == ["ce", "kd", "mine"]
    assert [arm.name for arm in default_arms(tmp_path, controls="none")] == ["exrep"]
    assert [arm.name for arm in default_arms(tmp_path, controls="kd")] == ["kd", "exrep"]
    with pytest.raises(ValueError, match="`controls` is 'kd'; expected other names than the arm's own"):
        default_arms(tmp_path, "kd", controls="[kd]")


def test_controls_under_stored_answers_keep_the_views(tmp_path: Path) -> None:
    """Answers for mixed images are not those for images as they are."""
    ce, kd, exrep = default_arms(tmp_path, teacher_cache="answers")
    assert {(arm.args.mixup, arm.args.cutmix) for arm in (ce, kd, exrep)} == {(1.0, 1.0)}


def test_equal_arms(tmp_path: Path) -> None:
    """The same student twice is no comparison, under whatever names."""
    _, kd, other = default_arms(tmp_path, "kd", arm="mine")
    assert not equal_arms(kd, other)
    other.model_args.distiller = "none"
    assert equal_arms(kd, other)
    other.data_args.hflip = 0.1
    assert not equal_arms(kd, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kd_wieght": 1},
            r"`controls.kd` changes \['kd_wieght'\]; there are no such settings \(did you mean `kd_weight`\?\)\.",
        ),
        ({"max_steps": 10}, r"`controls.kd` changes \['max_steps'\]; all arms of a study have to share these"),
        ({"teacher": "other"}, "all arms of a study have to share these"),
        ({"teacher_features": "cls"}, "all arms of a study have to share these"),
        ({"image_size": 16, "distiller": "paper"}, r"changes \['image_size'\]; all arms"),
        ({"student_from_scratch": True}, "all arms of a study have to share these"),
        ({"kd_weight": -1}, "`kd_weight` is -1.0; expected a finite number"),
        ({"learning_rate": "fast"}, "`controls.kd` has .*argument --learning_rate.*invalid float value: 'fast'"),
        ({"bf16": True}, "all arms of a study have to share these"),
        ({"num_public": 10}, "all arms of a study have to share these"),
        ({"distiller": "big"}, "argument --distiller: invalid choice: 'big'"),
        ({}, r"`controls.kd` keeps \['feature_weight'\] of .* leave its whole value out \(`{kd: , …}`\)"),
        ({"temperature": 2.0}, r"`controls.kd` keeps \['feature_weight'\] of the method"),
    ],
)
def test_bad_controls(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """A control with another budget is no control; a misspelt one equals the method."""
    with pytest.raises(ValueError, match=message):
        arms_of({"kd": changes}, tmp_path)
