"""What may be said in public about a run: settings without places and secrets, and versions of the software."""

import dataclasses
import functools
import platform
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.trainer_pt_utils import AcceleratorConfig

from exrep_hf.arguments.data import DataArguments
from exrep_hf.arguments.distillation import DistillationArguments
from exrep_hf.arguments.model import ModelArguments
from exrep_hf.arguments.study import StudyArguments

PACKAGES = ("exrep_hf", "torch", "transformers", "accelerate", "datasets", "timm", "evaluate", "huggingface-hub")
# Places and secrets of the machine: not part of what a run was.
_UNPUBLISHED = frozenset(
    {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "hub_token", "run_name", "project", "deepspeed"}
    | {"disable_tqdm", "report_to", "license", "allow_code"}
)
# What the Trainer's arguments make of settings that are left out, where it is not the default that they declare.
_LEFT_OUT: dict[str, Any] = {"activation_checkpointing": False, "gradient_checkpointing": False, "debug": []}
_LEFT_OUT["accelerator_config"] = {
    name: value for name, value in AcceleratorConfig().to_dict().items() if name != "use_configured_state"
}


def names_shards(name: str) -> bool:
    """Return whether a name is a pattern of tar archives: `shards/{000..146}.tar` or `shards/*.tar`."""
    return name.endswith(".tar") and any(sign in name for sign in "{*?[")


def public_name(name_or_path: str | None) -> str | None:
    """Name a model or data set without saying where on this machine it lies."""
    if name_or_path is not None and names_shards(name_or_path):
        # No file is called what a pattern says.
        return Path(name_or_path).name
    if name_or_path is None or not Path(name_or_path).expanduser().exists():
        return name_or_path
    return Path(name_or_path).expanduser().resolve().name


def without_places(value: Any) -> Any:
    """Return a setting, or several, with paths of this machine by their last part."""
    if isinstance(value, dict):
        return {key: without_places(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(part) for part in value]
    if isinstance(value, str):
        return Path(value).name if Path(value).is_absolute() else public_name(value)
    return value


def public_settings(
    settings: ModelArguments | DataArguments | StudyArguments | DistillationArguments,
) -> dict[str, Any]:
    """Settings that differ from their defaults, without paths and tokens."""
    usual = _training_defaults() if isinstance(settings, DistillationArguments) else _as_dict(type(settings)())
    values = _as_dict(settings)
    return {
        name: without_places(value)
        for name, value in values.items()
        if name not in _UNPUBLISHED and value != usual.get(name)
    }


@functools.cache
def _training_defaults() -> dict[str, Any]:
    # Read from the class: arguments that are made set up accelerate, and a run would go on with their set-up.
    return {
        field.name: _default(field) for field in dataclasses.fields(DistillationArguments) if field.init
    } | _LEFT_OUT


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default.value if isinstance(field.default, Enum) else field.default


def _as_dict(settings: Any) -> dict[str, Any]:
    return settings.to_dict() if isinstance(settings, DistillationArguments) else dataclasses.asdict(settings)


def software_versions() -> dict[str, str]:
    """Version of Python and of each package that took part."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
