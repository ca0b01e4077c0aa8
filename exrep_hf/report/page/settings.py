"""Settings as a reader wants them: what differs from the preset, or between runs."""

import json
from collections.abc import Mapping
from typing import Any

from exrep_hf.arguments.preset import preset_names, read_preset

_PARTS = ("model", "data", "training", "study")


def run_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was given beside its preset.

    Args:
        configuration: settings by part, those that differ from their defaults.

    Returns:
        `preset`, its name, None where there was none; and `rows` of setting, value and the preset's, as text.
    """
    flat = _flat(configuration)
    name = flat.pop("preset", None)
    usual = read_preset(name).settings if isinstance(name, str) and name in preset_names() else {}
    rows = [
        (setting, _text(value), _text(usual[setting]) if usual.get(setting) is not None else "")
        for setting, value in flat.items()
        if setting not in usual or usual[setting] != value
    ]
    return {"preset": name if usual else None, "rows": rows}


def differing_settings(runs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return rows of a setting and its value in each run, as text, of those that are not the same in all."""
    flat = [_flat(results["configuration"]) for results in runs.values()]
    names = dict.fromkeys(name for each in flat for name in each)
    rows = [(name, *(_text(each[name]) if name in each else "default" for each in flat)) for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for part in _PARTS for name, value in configuration.get(part, {}).items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
