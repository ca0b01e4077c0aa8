import math
from pathlib import Path
from typing import Any

import pytest
from transformers.integrations import get_available_reporting_integrations

from exrep_hf import DistillationArguments
from exrep_hf.arguments import DataArguments, EvaluationArguments, ModelArguments, StudyArguments


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("learning_rate", [-1.0, math.nan, math.inf, "fast"]),
        ("critic_learning_rate", [-1.0, 0.0, math.nan, math.inf]),
        ("weight_decay", [-0.1, math.nan, math.inf]),
        ("max_grad_norm", [-1.0, math.nan]),
        ("num_train_epochs", [0, -1.0, math.nan]),
        ("max_steps", [0, -2, 1.5]),
        ("per_device_train_batch_size", [0, -1]),
        ("per_device_eval_batch_size", [0]),
        ("gradient_accumulation_steps", [0]),
        ("adam_beta1", [1.0, -0.1, math.nan]),
        ("adam_epsilon", [0.0, math.nan]),
        ("logging_steps", [0, -1, math.nan]),
        ("save_steps", [0, -5]),
        ("warmup_steps", [-1, math.nan]),
        ("seed", [-1, 2**40]),
        ("temperature", [0.0, math.nan, math.inf, "hot"]),
        ("kd_weight", [-1.0, math.nan, math.inf]),
        ("views", [0, 1.5]),
    ],
)
def test_settings_out_of_range(name: str, values: list[Any], tmp_path: Path) -> None:
    """Each of these ran for as long as a teacher took to train, and some to the end."""
    for value in values:
        with pytest.raises(ValueError, match=rf"`{name}` is .*; expected"):
            DistillationArguments(output_dir=str(tmp_path), use_cpu=True, **{name: value})


def test_settings_that_are_right(tmp_path: Path) -> None:
    DistillationArguments(output_dir=str(tmp_path), use_cpu=True)
    given: dict[str, Any] = {
        "learning_rate": 1e-5,
        "max_steps": 1,
        "warmup_steps": 0.1,
        "max_grad_norm": 0.0,
        "eval_steps": 0.5,
    }
    DistillationArguments(output_dir=str(tmp_path), use_cpu=True, save_steps=0.5, **given)


def test_output_that_can_not_be_written(tmp_path: Path) -> None:
    """Figures of an hour were lost where their file was a folder."""
    (file := tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`output_dir` is .*, which is a file"):
        DistillationArguments(output_dir=str(file), use_cpu=True)
    with pytest.raises(ValueError, match="`output` is .*, which is a folder"):
        EvaluationArguments("model", "digits", output=str(tmp_path))
    with pytest.raises(ValueError, match="`output` is .*nothing can be written in"):
        EvaluationArguments("model", "digits", output=str(file / "figures.json"))
    EvaluationArguments("model", "digits", output=str(tmp_path / "new" / "figures.json"))
    with pytest.raises(ValueError, match="`max_samples` is 0; expected a whole number ≥ 1"):
        EvaluationArguments("model", "digits", max_samples=0)


def test_other_settings() -> None:
    for settings, name in (
        ({"pretraining_learning_rate": math.inf}, "pretraining_learning_rate"),
        ({"teacher_steps": -1}, "teacher_steps"),
        ({"image_size": 200_000}, "image_size"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` is .*; expected"):
            ModelArguments(**settings)
    for data, name in (({"ratio": [1.0, math.inf]}, "ratio"), ({"max_train_samples": 0}, "max_train_samples")):
        with pytest.raises(ValueError, match=f"`{name}` is .*; expected"):
            DataArguments(**data)


@pytest.mark.parametrize(
    "name", ["../../esc", "a/b", "", ".", "..", ".hidden", "-x", "a" * 65, "a\0", "a\\b", "a ", "a."]
)
def test_names_of_arms_are_those_of_folders(name: str) -> None:
    """They wrote outside the output folder."""
    settings: tuple[dict[str, Any], ...] = ({"arm": name}, {"controls": {name: {"mixup": 0}}})
    for given in settings:
        with pytest.raises(ValueError, match=f"^`{next(iter(given))}` is .*; expected a name of at most 64 letters"):
            StudyArguments(**given)
    StudyArguments(arm="exrep 2.0_b-1+c=3", controls={"Größe": {}})


@pytest.mark.skipif("trackio" in get_available_reporting_integrations(), reason="trackio is installed")
def test_a_tracker_that_is_not_installed() -> None:
    with pytest.raises(ValueError, match="`report_to` names 'trackio', which is not installed"):
        DistillationArguments("out", report_to=["trackio"])
    assert DistillationArguments("out", report_to="none").report_to == []
