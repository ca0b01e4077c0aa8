"""How the classes of data, teacher and student are matched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from exrep_hf.arguments.ranges import require
from exrep_hf.untrusted import parse_json, read_small_json

ClassRule = Literal["names", "position"] | Mapping[str, str]
"""By name; by number, where the user says so; or a mapping from a model's names to those of the data."""


def read_class_rule(given: Any) -> ClassRule:
    """Return the rule that a setting stands for.

    Args:
        given: `names`, `position`, a mapping from a model's names to those of the data, the same as JSON text, or the
            path of a JSON file of it.

    Raises:
        ValueError: if it is none of these.
    """
    if given in ("names", "position"):
        return given
    content = given if isinstance(given, Mapping) else _read(str(given))
    texts = isinstance(content, Mapping) and all(isinstance(value, str) for value in content.values())
    require(texts and bool(content), "classes", given, "a mapping from names of a model to names of the data")
    return {str(name): value for name, value in content.items()}


def _read(given: str) -> Any:
    try:
        if given.lstrip().startswith("{"):
            return parse_json(given, "the text")
        return read_small_json(Path(given).expanduser())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`classes` is {given!r}, which can't be read ({error}); expected `names`, `position`, or a JSON file of "
            "a mapping from names of a model to names of the data."
        ) from error
