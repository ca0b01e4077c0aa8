"""Settings from YAML and flags; flags win."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from exrep_hf.arguments import CachingArguments, DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.command_line import public_command
from exrep_hf.study import Settings
from exrep_hf.study.arms import as_flags
from exrep_hf.study.caching import CachingSettings

ARGUMENT_CLASSES: tuple[Any, ...] = (ModelArguments, DataArguments, StudyArguments, DistillationArguments)
CACHING_CLASSES: tuple[Any, ...] = (ModelArguments, DataArguments, StudyArguments, CachingArguments)


def _read_config(path: Path, known: Sequence[str]) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"`--config {path}`: there is no such file. Give the path of a YAML file of settings.")
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ValueError(f"`{path}` holds a {type(settings).__name__}; expected a mapping from setting to value.")
    unknown = [_with_nearest(str(key), known) for key in settings if key not in known]
    if unknown:
        raise ValueError(f"`{path}` has settings that don't exist: {'; '.join(unknown)}. `--help` lists them all.")
    return settings


def _with_nearest(key: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"`{key}`" + (f" (did you mean `{nearest[0]}`?)" if nearest else "")


def parse_settings(argv: Sequence[str], default_config: Path, default_preset: Path | None = None) -> Settings:
    """Read the settings of a run.

    Args:
        argv: the flags, among them `--config FILE.yaml`.
        default_config: the YAML taken where flags name neither a config nor data, teacher or student.
        default_preset: the YAML taken where flags name no config, but data, teacher or student.

    Raises:
        ValueError: for a config that can't be read, or an unknown setting (naming the nearest known one).
    """
    model_args, data_args, study_args, args = _parse(
        argv, ARGUMENT_CLASSES, "train.py", default_config, default_preset
    )
    unneeded = {"teacher"} if model_args.teacher_cache is not None or not args.needs_teacher else set()
    _require_given(model_args, data_args, {"dataset", "teacher", "student"} - unneeded)
    return Settings(model_args, data_args, study_args, args, public_command("recipes/train.py", argv))


def parse_caching_settings(argv: Sequence[str], default_config: Path) -> CachingSettings:
    """Read the settings of storing a teacher's answers: those of the training that will use them, and some of its own.

    Args:
        argv: the flags, among them `--config FILE.yaml`; what the config says of training's own output is left out.
        default_config: the YAML taken where flags name none.

    Raises:
        ValueError: for a config that can't be read, or an unknown setting (naming the nearest known one).
    """
    model_args, data_args, _, args = _parse(
        argv,
        CACHING_CLASSES,
        "cache_teacher.py",
        default_config,
        default_config,
        frozenset({"output_dir", "push_to_hub"}),
    )
    _require_given(model_args, data_args, {"dataset", "teacher"})
    if not any(flag.split("=")[0] in ("--output_dir", "--output-dir") for flag in argv):
        raise ValueError("`output_dir` is not given. Pass `--output_dir`, the folder for the answers.")
    return CachingSettings(model_args, data_args, args)


def _parse(
    argv: Sequence[str],
    classes: tuple[Any, ...],
    program: str,
    default_config: Path,
    default_preset: Path | None,
    left_out: frozenset[str] = frozenset(),
) -> list[Any]:
    parser = HfArgumentParser(
        list(classes), allow_abbrev=False, usage=f"{program} [--config FILE.yaml] [--SETTING VALUE ...]"
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings; flags win over it.")
    known = [field.name for cls in classes for field in dataclasses.fields(cls) if field.init]

    given, _ = parser.parse_known_args(argv)
    config = given.config
    if config is None:
        config = default_preset if given.dataset or given.teacher or given.student else default_config
    read = {} if config is None else _read_config(config, known)
    settings = {name: value for name, value in read.items() if name not in left_out}
    *parsed, _, unused = parser.parse_args_into_dataclasses(
        [*as_flags(settings), *argv], return_remaining_strings=True, look_for_args_file=False
    )
    if unused:
        wrong = [flag.removeprefix("--").split("=")[0].replace("-", "_") for flag in unused if flag.startswith("--")]
        named = "; ".join(_with_nearest(flag, known) for flag in wrong) or " ".join(unused)
        raise ValueError(f"Unknown flags: {named}. `--help` lists them all.")
    return parsed


def _require_given(model_args: ModelArguments, data_args: DataArguments, names: set[str]) -> None:
    for name in sorted(names):
        holder = data_args if name == "dataset" else model_args
        if getattr(holder, name) is None:
            raise ValueError(f"`{name}` is not given. Pass `--{name}`, or a config that names it.")
