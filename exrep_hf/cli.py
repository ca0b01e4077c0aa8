"""Settings from YAML and flags; flags win."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.study import Settings
from exrep_hf.study.arms import as_flags

ARGUMENT_CLASSES: tuple[Any, ...] = (ModelArguments, DataArguments, StudyArguments, DistillationArguments)


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
    parser = HfArgumentParser(
        list(ARGUMENT_CLASSES), allow_abbrev=False, usage="train.py [--config FILE.yaml] [--SETTING VALUE ...]"
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings; flags win over it.")
    known = [field.name for cls in ARGUMENT_CLASSES for field in dataclasses.fields(cls) if field.init]

    given, _ = parser.parse_known_args(argv)
    config = given.config
    if config is None:
        config = default_preset if given.dataset or given.teacher or given.student else default_config
    flags = [] if config is None else as_flags(_read_config(config, known))
    *parsed, _, unused = parser.parse_args_into_dataclasses(
        [*flags, *argv], return_remaining_strings=True, look_for_args_file=False
    )
    if unused:
        wrong = [flag.removeprefix("--").split("=")[0].replace("-", "_") for flag in unused if flag.startswith("--")]
        named = "; ".join(_with_nearest(flag, known) for flag in wrong) or " ".join(unused)
        raise ValueError(f"Unknown flags: {named}. `--help` lists them all.")
    model_args, data_args, study_args, args = parsed
    for name in ("dataset", "teacher", "student"):
        holder = data_args if name == "dataset" else model_args
        if getattr(holder, name) is None and not (name == "teacher" and not args.needs_teacher):
            raise ValueError(f"`{name}` is not given. Pass `--{name}`, or a config that names it.")
    return Settings(model_args, data_args, study_args, args)
