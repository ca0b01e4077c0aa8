"""Settings from presets, YAML and flags; flags win."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from exrep_hf.arguments import (
    CachingArguments,
    DataArguments,
    DistillationArguments,
    ModelArguments,
    StudyArguments,
)
from exrep_hf.arguments.caching import SETTINGS_OF_CACHING
from exrep_hf.arguments.nearest import did_you_mean
from exrep_hf.arguments.preset import preset_names, read_preset
from exrep_hf.arguments.settings_file import read_yaml
from exrep_hf.command_line import program_name, public_command
from exrep_hf.settings_parser import SettingsParser
from exrep_hf.untrusted import YAML_BYTES, read_small_text

if TYPE_CHECKING:
    from exrep_hf.study import Settings
    from exrep_hf.study.caching import CachingSettings

ARGUMENT_CLASSES: tuple[Any, ...] = (ModelArguments, DataArguments, DistillationArguments, StudyArguments)
CACHING_CLASSES: tuple[Any, ...] = (ModelArguments, DataArguments, CachingArguments, StudyArguments)

_EXAMPLES = Path(__file__).with_name("examples")

Arguments = TypeVar("Arguments")


def parse_settings(
    argv: Sequence[str],
    default_config: str | Path,
    description: str | None = None,
    program: str = "recipes/train.py",
) -> "Settings":
    """Read the settings of a run.

    Args:
        argv: the flags, among them `--config`: a preset's or an example's name, or a YAML file.
        default_config: what is taken where flags name neither a config nor data, teacher or student.
        description: for `--help`.
        program: what `accelerate launch` was given: a script, or `-m` and a module.

    Raises:
        ValueError: for a config that can't be read, or an unknown setting (naming the nearest known one).
    """
    usage = f"[accelerate launch] {program} [--config PRESET | FILE.yaml] [--SETTING VALUE ...]"
    parser = SettingsParser(ARGUMENT_CLASSES, usage=usage, description=description)
    model_args, data_args, args, study_args = _parse(parser, argv, default_config)
    args.check_has_terms()
    unneeded = {"teacher"} if model_args.teacher_cache is not None or not args.needs_teacher else set()
    _require_given(model_args, data_args, {"dataset", "teacher", "student"} - unneeded)
    # Behind `--help`, which needs nothing that trains.
    from exrep_hf.study import Settings

    return Settings(model_args, data_args, study_args, args, public_command(program, argv))


def parse_caching_settings(argv: Sequence[str], description: str | None = None) -> "CachingSettings":
    """Read the settings of storing a teacher's answers: those of the training that will use them, and some of its own.

    Args:
        argv: the flags, among them `--config`; what the config says of training's own output is left out.
        description: for `--help`.

    Raises:
        ValueError: for a config that can't be read, or an unknown setting (naming the nearest known one).
    """
    usage = "[accelerate launch -m] exrep_hf cache [--config PRESET | FILE.yaml] [--SETTING VALUE ...]"
    parser = SettingsParser(CACHING_CLASSES, SETTINGS_OF_CACHING | {"config"}, usage=usage, description=description)
    model_args, data_args, args, _ = _parse(parser, argv, None, frozenset({"output_dir", "push_to_hub"}))
    _require_given(model_args, data_args, {"dataset", "teacher"})
    if not any(flag.split("=")[0] in ("--output_dir", "--output-dir") for flag in argv):
        raise ValueError("`output_dir` is not given. Pass `--output_dir`, the folder for the answers.")
    from exrep_hf.study.caching import CachingSettings

    return CachingSettings(model_args, data_args, args)


def parse_arguments(
    arguments: type[Arguments], argv: Sequence[str], description: str | None, positional: str | None = None
) -> Arguments:
    """Read the flags of a recipe with one dataclass of settings.

    Args:
        arguments: the dataclass.
        argv: the flags.
        description: for `--help`.
        positional: a setting whose value, or values, may stand first, without its flag.

    Raises:
        ValueError: for a value outside its range.
    """
    usage = f"{program_name()} {f'[{positional.upper()}] ' if positional else ''}[--SETTING VALUE ...]"
    parser = SettingsParser([arguments], usage=usage, description=description)
    parser.prog = program_name()
    flags = [flag.split("=")[0] for flag in argv if flag.startswith("--")]
    if repeated := sorted({flag for flag in flags if flags.count(flag) > 1}):
        raise ValueError(f"{', '.join(repeated)}: given more than once; expected all values behind one flag.")
    if positional is not None and argv and not argv[0].startswith("-"):
        argv = [f"--{positional}", *argv]
    parsed, unused = parser.parse_args_into_dataclasses(
        list(argv), return_remaining_strings=True, look_for_args_file=False
    )
    _refuse_unknown(unused, [field.name for field in dataclasses.fields(cast(Any, arguments))])
    return cast(Arguments, parsed)


def _parse(
    parser: SettingsParser,
    argv: Sequence[str],
    default_config: str | Path | None,
    left_out: frozenset[str] = frozenset(),
) -> list[Any]:
    parser.add_argument(
        "--config", help=f"Preset ({', '.join(preset_names())}) or YAML file of settings; flags win over it."
    )
    classes = parser.dataclass_types
    known = [field.name for cls in classes for field in dataclasses.fields(cls) if field.init]
    _check_repeated(parser, argv)
    given, _ = parser.parse_known_args(argv)
    config = given.config
    if config is None and not (given.dataset or given.teacher or given.student):
        config = default_config
    read = {} if config is None else _read_config(str(config), known)
    if "allow_code" in read:
        raise ValueError(f"`{config}` holds `allow_code`; expected it as a flag alone: settings must not run code.")
    from exrep_hf.study.arms import as_flags

    settings = {name: value for name, value in read.items() if name not in left_out}
    controls = settings.get("controls")
    if isinstance(controls, list) and all(isinstance(name, str) for name in controls):
        # Names, as a flag takes them within one value.
        settings["controls"] = dict.fromkeys(controls)
    _check_lists(parser, settings)
    *parsed, _, unused = parser.parse_args_into_dataclasses(
        [*as_flags(settings), *argv], return_remaining_strings=True, look_for_args_file=False
    )
    _refuse_unknown(unused, known)
    if config in preset_names():
        for part in parsed:
            if isinstance(part, DistillationArguments):
                part.preset = config
    return parsed


def _check_repeated(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Refuse a second flag of a setting with several values: argparse would take the last one's alone."""
    flags = [part.split("=")[0] for part in argv]
    for action in parser._actions:
        if action.nargs in ("+", "*") and sum(flag in action.option_strings for flag in flags) > 1:
            raise ValueError(f"`{action.dest}` is given more than once; expected all values behind one flag.")


def _check_lists(parser: argparse.ArgumentParser, settings: dict[str, Any]) -> None:
    """Refuse several values where a flag takes one, and values with a dash: they would be taken for flags."""
    for action in parser._actions:
        value = settings.get(action.dest)
        if isinstance(value, list) and len(value) > 1 and action.nargs not in ("+", "*"):
            raise ValueError(f"`{action.dest}` is {value!r:.200}; expected one value.")
        texts = map(str, value) if isinstance(value, list) else ()
        if dashed := [
            each for each in texts if each.startswith("-") and not parser._negative_number_matcher.match(each)
        ]:
            raise ValueError(
                f"`{action.dest}` holds {', '.join(dashed):.200}; expected values that don't begin with a dash, or "
                "numbers without an exponent."
            )


def example_names() -> list[str]:
    """Return the names of the whole recipes that are installed with the package."""
    return sorted(path.stem for path in _EXAMPLES.glob("*.yaml"))


def _read_config(config: str, known: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a preset or of a YAML file."""
    if config in preset_names():
        return read_preset(config).settings
    path = _EXAMPLES / f"{config}.yaml" if config in example_names() else Path(config)
    if not path.is_file():
        raise ValueError(
            f"`--config {config}`: there is no such file{did_you_mean(config, preset_names())}. Give "
            f"the path of a YAML file of settings, one of the presets {', '.join(preset_names())}, or the example "
            f"{', '.join(example_names())}."
        )
    settings = read_yaml(read_small_text(path, YAML_BYTES), f"`{path}`")
    if not isinstance(settings, dict):
        raise ValueError(f"`{path}` holds a {type(settings).__name__}; expected a mapping from setting to value.")
    unknown = [_with_nearest(str(key), known) for key in settings if key not in known]
    if unknown:
        raise ValueError(f"`{path}` has settings that don't exist: {'; '.join(unknown)}. `--help` lists them all.")
    return settings


def _refuse_unknown(unused: Sequence[str], known: Sequence[str]) -> None:
    if unused:
        wrong = [flag.removeprefix("--").split("=")[0].replace("-", "_") for flag in unused if flag.startswith("--")]
        named = "; ".join(_with_nearest(flag, known) for flag in wrong) or " ".join(unused)
        raise ValueError(f"Unknown flags: {named}. `--help` lists them all.")


def _with_nearest(key: str, known: Sequence[str]) -> str:
    return f"`{key}`{did_you_mean(key, known)}"


def _require_given(model_args: ModelArguments, data_args: DataArguments, names: set[str]) -> None:
    for name in sorted(names):
        holder = data_args if name == "dataset" else model_args
        if getattr(holder, name) is None:
            raise ValueError(f"`{name}` is not given. Pass `--{name}`, or a config that names it.")
