"""Settings from presets, YAML and flags."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exrep_hf.arguments import DistillationArguments, EvaluationArguments, PublishArguments, VerificationArguments
from exrep_hf.arguments.caching import SETTINGS_OF_CACHING
from exrep_hf.arguments.preset import preset_names
from exrep_hf.cli import ARGUMENT_CLASSES, parse_arguments, parse_caching_settings, parse_settings

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


@pytest.mark.parametrize("name", ["bf16", "tf32", "channels_last", "freeze_batch_norm"])
def test_settings_that_may_be_left_open_are_flags_all_the_same(name: str, config: Path) -> None:
    """People type `--bf16`, and `--bf16 false` where it would be chosen; a config may have either."""
    read = {}
    for flags in ((), (f"--{name}",), (f"--{name}", "false"), (f"--{name}", "--seed", "3")):
        if name == "tf32" and "false" not in flags and flags:
            continue
        read[flags] = getattr(parse_settings(["--config", str(config), "--use_cpu", *flags], config).training, name)
    expected = {(): None, (f"--{name}",): True, (f"--{name}", "false"): False, (f"--{name}", "--seed", "3"): True}
    assert read == {flags: expected[flags] for flags in read}


def test_default_config_only_without_a_task(config: Path, tmp_path: Path) -> None:
    """Digits settings must not leak into a run that names its own data."""
    assert parse_settings(["--num_seeds", "2"], config).data.dataset == "digits"
    with pytest.raises(ValueError, match="`teacher` is not given"):
        parse_settings(["--dataset", "images", "--student", "me/s", "--output_dir", str(tmp_path)], config)


def test_no_teacher_needed_for_labels_alone(config: Path, tmp_path: Path) -> None:
    """A run with labels alone is complete without a teacher."""
    flags = ["--dataset", "images", "--student", "me/s", "--output_dir", str(tmp_path)]
    flags += ["--ce_weight", "1", "--kd_weight", "0"]
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
        for base in DistillationArguments.__mro__[1:]
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    mine = [field for field in own if field.name not in inherited]
    assert len(mine) > 40
    assert [field.name for field in mine if not field.metadata.get("help")] == []


def test_help(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    """`--help` itself must not fail on a stray percent sign, and shows groups and defaults."""
    with pytest.raises(SystemExit, match="0"):
        parse_settings(["--help-all"], config)
    text = " ".join(capsys.readouterr().out.split())
    for part in ("teacher and student:", "images:", "study:", "temperature τ of the KL divergence. (default: 4.0)"):
        assert part in text


def test_every_recipe_and_preset_is_read_by_the_real_parser(tmp_path: Path) -> None:
    """A shipped YAML with a misspelt key would fail only at its user's."""
    # Those of accelerate are not ours to read.
    configs = [path for path in sorted(RECIPES.rglob("*.yaml")) if path.parent.name != "accelerate"]
    assert len(configs) >= 4 and preset_names() == ["crd", "exrep", "exrep-paper", "kd", "kd-mixed"]
    for config, flags in [*((str(path), []) for path in configs), *((name, TASK) for name in preset_names())]:
        # A tracker need not be installed here.
        more = ["--output_dir", str(tmp_path), "--report_to", "none", *flags]
        settings = parse_settings(["--config", config, *more], tmp_path)
        assert settings.data.dataset
        assert settings.training.preset == (config if flags else "exrep")


def test_without_a_config_the_settings_are_those_of_the_default_preset(tmp_path: Path, config: Path) -> None:
    """Whoever names only data and models gets our default, and flags still win."""
    flags = [*TASK, "--output_dir", str(tmp_path)]
    settings, named = (parse_settings([*flags, *more], config) for more in ([], ["--config", "exrep"]))
    assert (settings.model, settings.data) == (named.model, named.data)
    assert settings.training.to_dict() == named.training.to_dict()
    assert parse_settings([*flags, "--ce_weight", "0.5"], config).training.ce_weight == 0.5
    assert parse_settings([], config).model.teacher == "timm/test_efficientnet"


def test_a_preset_that_is_misspelt(config: Path) -> None:
    """`exrep_paper` must not be searched for as a file without a hint."""
    with pytest.raises(ValueError, match=r"no such file \(did you mean `exrep-paper`\?\).*presets crd, exrep"):
        parse_settings(["--config", "exrep_paper", *TASK], config)


def groups_of(text: str) -> dict[str, str]:
    """The help by its headings."""
    parts = re.split(r"^(\S[^\n]*):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_help_lists_each_setting_once_and_ours_first(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    """Among two hundred settings of the Trainer nobody finds ours, and twice as many lines help nobody."""
    with pytest.raises(SystemExit, match="0"):
        parse_settings(["--help-all"], config)
    groups = groups_of(capsys.readouterr().out)
    titles = list(groups)
    assert titles[:5] == ["options", "teacher and student", "images", "loss and training", "study"]
    assert titles[5].startswith("the Trainer's own settings") and len(titles) == 6
    flags = [flag for text in groups.values() for flag in re.findall(r"^  (--[\w-]+)", text, flags=re.MULTILINE)]
    assert len(flags) == len(set(flags)) > 100
    assert [flag for flag in flags if "-" in flag.removeprefix("--")] == []
    assert "--learning_rate" in groups["loss and training"] and "--weight_decay" in groups[titles[5]]


def test_help_of_caching_lists_what_has_an_effect(capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate beside the stored answers' settings says that it matters there."""
    with pytest.raises(SystemExit, match="0"):
        parse_caching_settings(["--help-all"])
    text = capsys.readouterr().out
    flags = set(re.findall(r"^  --(\w+)", text, flags=re.MULTILINE))
    assert flags == SETTINGS_OF_CACHING | {"config"}
    assert len(text.splitlines()) < 200


@pytest.mark.parametrize(
    ("arguments", "argv", "name", "value"),
    [
        (PublishArguments, ["out/mine", "--repo_id", "me/s"], "folder", "out/mine"),
        (VerificationArguments, ["me/student"], "model", "me/student"),
        (VerificationArguments, ["m", "--other_dataset", "a/b", "here"], "places", {"a/b": "here"}),
        (EvaluationArguments, ["--model", "m", "--dataset", "digits"], "split", "test"),
    ],
)
def test_other_recipes_are_read_by_the_same_parser(arguments: Any, argv: list[str], name: str, value: Any) -> None:
    """The first word stays what it was: the folder to push, the student to verify."""
    assert getattr(parse_arguments(arguments, argv, None, {"folder": "folder"}.get(name, "model")), name) == value


def test_values_that_other_recipes_refuse() -> None:
    """A second `--other_dataset` would silently replace the first."""
    with pytest.raises(ValueError, match="--other_dataset: given more than once"):
        parse_arguments(VerificationArguments, ["m", *["--other_dataset", "a", "b"] * 2], None, "model")
    with pytest.raises(ValueError, match=r"`other_dataset` is \['a'\]; expected pairs"):
        parse_arguments(VerificationArguments, ["m", "--other_dataset", "a"], None, "model")


def test_a_misspelt_flag_of_any_command() -> None:
    with pytest.raises(ValueError, match=r"Unknown flags: `use_cpus` \(did you mean `use_cpu`\?\)"):
        parse_arguments(EvaluationArguments, ["--model", "m", "--dataset", "d", "--use_cpus"], None)


def test_values_behind_two_flags(tmp_path: Path) -> None:
    """The last one's alone would count; a setting of one value may be given again, as scripts do."""
    given = ["--teacher", "a", "--teacher=b", "--student", "c", "--dataset", "d", "--output_dir", str(tmp_path)]
    with pytest.raises(ValueError, match="`teacher` is given more than once; expected all values behind one flag"):
        parse_settings(given, "digits")
    assert (
        parse_settings([*given[:2], *given[3:], "--max_steps", "1", "--max_steps", "2"], "digits").training.max_steps
        == 2
    )


def test_names_of_controls_in_a_file(tmp_path: Path) -> None:
    """As behind `--controls`."""
    (tmp_path / "mine.yaml").write_text("controls: [ce, kd]\n")
    flags = ["--config", str(tmp_path / "mine.yaml"), *TASK, "--output_dir", str(tmp_path)]
    assert parse_settings(flags, tmp_path).study.controls == {"ce": None, "kd": None}
