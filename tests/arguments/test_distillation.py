"""Settings that can't work are refused when they are read."""

import copy
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.arguments.preset import DEFAULT_PRESET, preset_names, read_preset


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kd_weight", -0.1, r"`kd_weight` is -0.1; expected a finite number ≥ 0"),
        ("critic_weight", -1, r"`critic_weight` is -1"),
        ("temperature", 0.0, r"`temperature` is 0.0; expected a finite number > 0"),
        ("crd_temperature", -0.07, r"`crd_temperature` is -0.07"),
        ("momentum", 1.0, r"`momentum` is 1.0; expected a number in \[0, 1\)"),
        ("momentum", -0.1, r"`momentum` is -0.1"),
        ("crd_negatives", "batches", "`crd_negatives` is 'batches'; expected `image` or `batch`"),
        ("crd_table_dtype", "float16", "`crd_table_dtype` is 'float16'; expected `float32` or `bfloat16`"),
        ("num_negatives", 0, r"`num_negatives` is 0; expected a whole number ≥ 1"),
        ("mixup", -1.0, r"`mixup` is -1.0; expected a finite number ≥ 0"),
        ("cutmix", float("inf"), r"`cutmix` is inf"),
        ("crd_weight", 0.8, r"`crd_weight` is 0.8 with `mixup` 1.0, `cutmix` 1.0; expected one or the other"),
        ("ema_decay", 0.0, r"`ema_decay` is 0.0; expected a finite number > 0"),
        ("ema_decay", 1.0, r"`ema_decay` is 1.0; expected a number in \(0, 1\), such as 0.999"),
        ("ema_decay", float("nan"), r"`ema_decay` is nan; expected a finite number"),
        ("distiller_share", 0.0, r"`distiller_share` is 0.0; expected a share in \(0, 1\]"),
        ("num_negatives", 2.5, r"`num_negatives` is 2.5; expected a whole number"),
        ("kd_weight", float("inf"), r"`kd_weight` is inf"),
        ("temperature", float("inf"), r"`temperature` is inf"),
        ("label_smoothing_factor", 1.5, r"`label_smoothing_factor` is 1.5; expected a number in \[0, 1\)"),
        ("critic_learning_rate", 0.0, r"`critic_learning_rate` is 0.0"),
        ("critic_learning_rate", float("inf"), r"`critic_learning_rate` is inf; expected a finite number > 0"),
        ("learning_rate", float("inf"), r"`learning_rate` is inf; expected a finite number ≥ 0"),
        ("learning_rate", float("nan"), r"`learning_rate` is nan"),
        ("kd_weight", float("nan"), r"`kd_weight` is nan"),
        ("logging_nan_inf_filter", True, r"`logging_nan_inf_filter` is True; expected False"),
        ("remove_unused_columns", True, r"would drop `sample_index`"),
    ],
)
def test_bad_training_settings(tmp_path: Path, name: str, value: Any, message: str) -> None:
    """A negative weight would push the student away from its teacher for hours, silently."""
    with pytest.raises(ValueError, match=message):
        DistillationArguments(output_dir=str(tmp_path), **{name: value})


def test_nothing_to_train(tmp_path: Path) -> None:
    """With every weight at 0 the loss has no gradient and the run would 'succeed'."""
    with pytest.raises(ValueError, match="there is nothing to train"):
        DistillationArguments(
            output_dir=str(tmp_path), ce_weight=0, kd_weight=0, crd_weight=0, adversarial_weight=0, critic_weight=1
        ).check_has_terms()


def test_defaults_are_the_preset_that_pays(tmp_path: Path) -> None:
    """Classes, command line and preset of one name must not differ in a single number."""
    args, preset = DistillationArguments(output_dir=str(tmp_path)), read_preset(DEFAULT_PRESET)
    named = DistillationArguments.from_preset(DEFAULT_PRESET, output_dir=str(tmp_path))
    assert args.to_dict() == named.to_dict()
    for cls, values in ((ModelArguments, vars(ModelArguments())), (DataArguments, vars(DataArguments()))):
        settings = preset.settings_of(cls)
        assert settings == {name: values[name] for name in settings}
    assert (args.kd_weight, args.ce_weight, args.crd_weight, args.adversarial_weight) == (1.0, 0.0, 0.0, 0.0)
    assert (args.mixup, args.cutmix, args.per_device_train_batch_size) == (1.0, 1.0, 128)
    # What follows from the run is open until there is one.
    assert (args.learning_rate, args.num_train_epochs, args.freeze_batch_norm) == (None, None, None)
    # The log must not hide a loss, and the Trainer must not drop `sample_index`.
    assert not args.logging_nan_inf_filter
    assert not args.remove_unused_columns


def test_the_published_settings(tmp_path: Path) -> None:
    """The paper's weights, optimizer and CRD settings, as a preset; what is given wins."""
    args = DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path), crd_weight=0.4)
    weights = (args.ce_weight, args.kd_weight, args.crd_weight, args.adversarial_weight, args.critic_weight)
    assert weights == (1.0, 1.0, 0.4, 0.1, 0.1)
    assert (args.temperature, args.num_negatives, args.crd_temperature, args.momentum) == (4.0, 4096, 0.07, 0.5)
    assert (args.label_smoothing_factor, args.learning_rate, args.optim, args.optim_args) == (
        *(0.1, 0.003),
        *("sgd", "momentum=0.9"),
    )
    assert (args.mixup, args.cutmix, args.freeze_batch_norm, args.num_train_epochs) == (0.0, 0.0, True, 200)
    assert (args.preset, copy.deepcopy(args).preset) == ("exrep-paper", "exrep-paper")
    with pytest.raises(ValueError, match=r"no preset 'exrep_paper' \(did you mean 'exrep-paper'\?\)"):
        DistillationArguments.from_preset("exrep_paper")


@pytest.mark.parametrize("name", preset_names())
def test_every_setting_of_a_preset_exists(name: str) -> None:
    """A misspelt key in a preset would be passed over by `from_preset`."""
    preset = read_preset(name)
    parts = [preset.settings_of(cls) for cls in (ModelArguments, DataArguments, DistillationArguments)]
    assert {key for part in parts for key in part} == preset.settings.keys()


@pytest.mark.parametrize(
    ("preset", "changes", "teacher", "features"),
    [
        ("exrep-paper", {}, True, True),
        ("exrep", {}, True, False),
        ("exrep-paper", {"kd_weight": 0, "crd_weight": 0}, True, True),
        ("exrep", {"ce_weight": 1, "kd_weight": 0}, False, False),
    ],
)
def test_what_the_terms_need(
    tmp_path: Path, preset: str, changes: dict[str, Any], teacher: bool, features: bool
) -> None:
    """A teacher that no term needs must not be queried: it may cost hundreds of students."""
    args = DistillationArguments.from_preset(preset, output_dir=str(tmp_path), **changes)
    assert (args.needs_teacher, args.needs_features) == (teacher, features)


def test_untrained_networks() -> None:
    """An untrained teacher would be distilled faithfully."""
    with pytest.raises(ValueError, match="`teacher_from_scratch` is set but `teacher_steps` is 0"):
        ModelArguments(teacher="timm/resnet18", teacher_from_scratch=True)
    with pytest.raises(ValueError, match="`student_steps` is -1"):
        ModelArguments(student_steps=-1)
    with pytest.raises(ValueError, match="`distiller` is 'heavy'; expected one of"):
        ModelArguments(distiller="heavy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`image_size` is 4; expected a whole number ≥ 8"):
        ModelArguments(image_size=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"private_fraction": 1.0}, r"`private_fraction` is 1.0; expected a share in \[0, 1\)"),
        ({"scale": [0.5, 1.2]}, "a crop is no larger than its image"),
        ({"scale": [0.9, 0.5]}, "`scale` is"),
        ({"ratio": [0.0, 1.0]}, "`ratio` is"),
        ({"hflip": 1.5}, "`hflip` is 1.5"),
        ({"validation_fraction": 0.0}, "`validation_fraction` is 0.0"),
        ({"max_train_samples": 0}, "`max_train_samples` is 0"),
        ({"num_public": 1}, "`num_public` is 1; expected a whole number ≥ 2"),
        ({"num_public": 5, "private_fraction": 0.5}, "`private_fraction` is 0.5 and `num_public` is 5; expected one"),
        ({"train_on": "private"}, "`train_on` is 'private'"),
        ({"evaluate_on": "train"}, "`evaluate_on` is 'train'"),
    ],
)
def test_bad_data_settings(settings: dict[str, Any], message: str) -> None:
    """Out-of-range shares and crops would fail, or train on nothing, minutes later."""
    with pytest.raises(ValueError, match=message):
        DataArguments(**settings)


def test_a_folder_is_taken_back_by_nothing() -> None:
    """A recipe names one, and the command line is for other images."""
    assert DataArguments(data_dir="", dataset_config_name="") == DataArguments()


def test_controls_in_yaml() -> None:
    """Flags give controls as YAML; a typo there must not lose the controls."""
    assert StudyArguments(controls="{kd: {crd_weight: 0}}").controls == {"kd": {"crd_weight": 0}}
    assert StudyArguments(controls='{"kd": {"crd_weight": 0}}').controls == {"kd": {"crd_weight": 0}}
    assert StudyArguments().controls is None
    assert StudyArguments(controls="none").controls == StudyArguments(controls={}).controls == {}
    assert StudyArguments(controls="[ce, kd]").controls == {"ce": None, "kd": None}
    assert StudyArguments(controls="ce").controls == {"ce": None}
    with pytest.raises(ValueError, match=r"`controls`, '\{kd: ', can't be read as YAML"):
        StudyArguments(controls="{kd: ")
    with pytest.raises(ValueError, match="`controls.kd` is 0; expected a mapping from setting to value"):
        StudyArguments(controls={"kd": 0})
    with pytest.raises(ValueError, match=r"`controls.crd` is None; expected .* one of \('ce', 'kd'\)"):
        StudyArguments(controls="[crd]")
    with pytest.raises(ValueError, match=r"`controls` is 3; expected a mapping"):
        StudyArguments(controls="3")
