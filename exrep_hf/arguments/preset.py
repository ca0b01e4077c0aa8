"""Presets: settings of models, images and training that were chosen together, under one name."""

import dataclasses
import difflib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from exrep_hf.arguments.settings_file import read_yaml

DEFAULT_PRESET = "exrep"
"""The one whose settings are the defaults of the argument classes."""

_FOLDER = files("exrep_hf") / "presets"


@dataclass(frozen=True)
class Preset:
    """A whole recipe.

    Attributes:
        name: of the file in `exrep_hf/presets`, without its suffix.
        settings: by name, of any of the argument classes; None stands for a value that follows from the run.
    """

    name: str
    settings: dict[str, Any]

    def settings_of(self, arguments: type) -> dict[str, Any]:
        """Return those settings that are fields of a dataclass."""
        known = {field.name for field in dataclasses.fields(arguments) if field.init}
        return {name: value for name, value in self.settings.items() if name in known}


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(path.name.removesuffix(".yaml") for path in _FOLDER.iterdir() if path.name.endswith(".yaml"))


def read_preset(name: str) -> Preset:
    """Read a preset.

    Raises:
        ValueError: if there is none of this name, with the nearest one.
    """
    names = preset_names()
    if name not in names:
        nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
        raise ValueError(f"There is no preset {name!r} (did you mean {nearest!r}?); expected one of {names}.")
    return Preset(name, read_yaml((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"The preset {name!r}"))
