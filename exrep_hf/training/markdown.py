"""Names that anybody may have chosen, in a card: shown as they are, and unable to be anything but text there."""

import re
import unicodedata
from typing import Any

# What ends a line, a table's cell, a code span or a paragraph, or begins HTML: in code and outside of it.
_EVERYWHERE = {"`": "&grave;", "<": "&lt;", "|": "&vert;"}
_ENTITY = re.compile(r"&(?=#?\w+;)")
_PUNCTUATION = re.compile(r"[\\*\[\]~$@]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")
_SPACE = re.compile(r"\s+")


def harmless(value: Any) -> Any:
    """Return text, or all texts of lists and mappings and their keys, on one line, without what Markdown reads.

    What is left may stand between backticks; elsewhere `plain` has to follow.
    """
    if isinstance(value, dict):
        return {harmless(key): harmless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(each) for each in value]
    return _harmless(value) if isinstance(value, str) else value


def _harmless(text: str) -> str:
    # Control characters, and those that turn the direction of what follows.
    kept = "".join(" " if unicodedata.category(each) in ("Cc", "Zl", "Zp") or _turns(each) else each for each in text)
    kept = _ENTITY.sub("&amp;", _SPACE.sub(" ", kept))
    return "".join(_EVERYWHERE.get(each, each) for each in kept)


def _turns(character: str) -> bool:
    return "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"


def prose(text: str) -> str:
    """Return sentences of ours, in which names stand between backticks: these stay, and all else is text."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return plain(_harmless(text))
    told = [_harmless(part) for part in parts]
    return "".join(f"`{part}`" if number % 2 and part.strip() else plain(part) for number, part in enumerate(told))


def plain(text: str) -> str:
    """Return harmless text as it may stand outside of code: without emphasis, links and mentions."""
    return _PUNCTUATION.sub(lambda found: "\\" + found[0], text)
