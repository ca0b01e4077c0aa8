"""Settings from YAML and flags."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from exrep_hf.cli import ARGUMENT_CLASSES, parse_settings

RECIPES = Path(__file__).parents[1] / "recipes"
TASK = ["--dataset", "images", "--teacher", "me/teacher", "--student", "me/student"]
CONFIG = {
    "dataset": "digits",
    "teacher": "timm/test_efficientnet",
    "student": "timm/test_resnet",
    "learning_rate": "1e-3",
    "scale": [0.5, 1.0],
    "no_aug": True,
    "controls": {"ce": {"kd_weight": 0}},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "output_dir": str(tmp_path / "out")}))
    return path


def test_values_of_every_kind(config: Path) -> None:
    """YAML 1.1 reads 1e-3 as text: an unconverted learning rate would fail deep in the optimizer."""
    settings = parse_settings(["--config", str(config)], config)
    assert settings.training.learning_rate == 1e-3
    assert settings.data.scale == [0.5, 1.0]
    assert settings.data.no_aug is True
    assert settings.study.controls == {"ce": {"kd_weight": 0}}
    assert settings.model.student == "timm/test_resnet"


def test_flags_win(config: Path) -> None:
    """A flag that loses to the YAML trains something else than was asked for."""
    flags = ["--config", str(config), "--learning_rate", "0.5", "--scale", "0.1", "0.2", "--student=timm/resnet18"]
    settings = parse_settings(flags, config)
    assert settings.training.learning_rate == 0.5
    assert settings.data.scale == [0.1, 0.2]
    assert settings.model.student == "timm/resnet18"
    assert settings.model.teacher == "timm/test_efficientnet"


def test_default_config_only_without_a_task(config: Path, tmp_path: Path) -> None:
    """Digits settings must not leak into a run that names its own data."""
    assert parse_settings(["--num_seeds", "2"], config).data.dataset == "digits"
    with pytest.raises(ValueError, match="`teacher` is not given"):
        parse_settings(["--dataset", "images", "--student", "me/s", "--output_dir", str(tmp_path)], config)


def test_no_teacher_needed_for_labels_alone(config: Path, tmp_path: Path) -> None:
    """A run with labels alone is complete without a teacher."""
    flags = ["--dataset", "images", "--student", "me/s", "--output_dir", str(tmp_path)]
    flags += ["--kd_weight", "0", "--crd_weight", "0", "--adversarial_weight", "0"]
    assert parse_settings(flags, config).model.teacher is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kd_wieght: 1", r"`kd_wieght` \(did you mean `kd_weight`\?\)"),
        ("learning_rte: 1", r"`learning_rte` \(did you mean `learning_rate`\?\)"),
        ("- kd_weight", "holds a list; expected a mapping"),
    ],
)
def test_unknown_key(tmp_path: Path, line: str, message: str) -> None:
    """A misspelt key that is ignored trains with the default instead."""
    path = tmp_path / "bad.yaml"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        parse_settings(["--config", str(path)], path)


def test_unknown_flag_and_missing_file(config: Path, tmp_path: Path) -> None:
    """The same for flags, and for a config that is not there."""
    with pytest.raises(ValueError, match=r"`kdweight` \(did you mean `kd_weight`\?\)"):
        parse_settings(["--config", str(config), "--kdweight", "1"], config)
    with pytest.raises(ValueError, match="there is no such file"):
        parse_settings(["--config", str(tmp_path / "none.yaml")], config)


def test_wrong_type_names_the_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text where a number belongs is found before anything is loaded."""
    path = tmp_path / "bad.yaml"
    path.write_text("kd_weight: much\n")
    with pytest.raises(SystemExit):
        parse_settings(["--config", str(path)], path)
    assert "--kd_weight" in capsys.readouterr().err


def test_help_explains_every_own_setting() -> None:
    """A setting without help text is one that nobody finds."""
    own = [
        field
        for cls in ARGUMENT_CLASSES
        for field in dataclasses.fields(cls)
        if cls.__module__.startswith("exrep_hf.arguments")
    ]
    inherited = {
        field.name
        for base in ARGUMENT_CLASSES[-1].__mro__[1:]
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    mine = [field for field in own if field.name not in inherited]
    assert len(mine) > 40
    assert [field.name for field in mine if not field.metadata.get("help")] == []


def test_help(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    """`--help` itself must not fail on a stray percent sign, and shows groups and defaults."""
    with pytest.raises(SystemExit, match="0"):
        parse_settings(["--help"], config)
    text = " ".join(capsys.readouterr().out.split())
    for part in ("teacher and student:", "images:", "study:", "temperature τ of the KL divergence. (default: 4.0)"):
        assert part in text


def test_every_recipe_is_read_by_the_real_parser(tmp_path: Path) -> None:
    """A shipped YAML with a misspelt key would fail only at its user's."""
    # Those of accelerate are not ours to read.
    configs = [path for path in sorted(RECIPES.rglob("*.yaml")) if path.parent.name != "accelerate"]
    presets = [path for path in configs if path.parent.name == "presets"]
    assert len(presets) == 4 and len(configs) > len(presets)
    for path in configs:
        flags = TASK if path in presets else []
        settings = parse_settings(["--config", str(path), "--output_dir", str(tmp_path), *flags], path)
        assert settings.data.dataset


def test_default_preset(tmp_path: Path, config: Path) -> None:
    """Whoever names only data and models gets our default, and flags still win."""
    preset = RECIPES / "presets" / "exrep.yaml"
    flags = [*TASK, "--output_dir", str(tmp_path)]
    settings = parse_settings(flags, config, preset)
    assert (settings.training.mixup, settings.training.ce_weight, settings.model.distiller) == (1.0, 0.0, "none")
    assert parse_settings([*flags, "--ce_weight", "0.5"], config, preset).training.ce_weight == 0.5
    assert parse_settings([], config, preset).model.teacher == "timm/test_efficientnet"
