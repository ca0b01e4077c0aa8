"""Small files that others wrote, read within bounds: of what is opened, of size, and of what the content becomes."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

JSON_BYTES = 16 * 2**20
"""What a run with a long history or a manifest of many files stays far below."""
YAML_BYTES = 128 * 2**10
"""PyYAML needs up to a second for as much; metadata of cards have some kilobytes."""
# A value takes up to 100 bytes in memory for 2 in its file.
_VALUES = 500_000
_DEPTH = 64
# Characters, and one for each node, after aliases are written out.
_EXPANDED = 2**20
# In C where PyYAML was built with it, some ten times as fast. Its parser doesn't recurse; its composer does, and ends
# the process where that is too deep.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_small_text(path: Path, limit: int, folder: Path | None = None) -> str:
    """Return the text of a regular file, without waiting for what is none and without reading what is too large.

    Args:
        path: of the file; a link is followed.
        limit: of its size, in bytes.
        folder: what a link has to stay in, but for a snapshot of the Hub's cache, whose files are links to its blobs.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no regular file, leads out of the folder, is too large, or is no text.
    """
    if folder is not None:
        check_inside(path, folder)
    # Opening a pipe otherwise waits for its other end.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{str(path)!r} can't be opened ({error.strerror}); expected a regular file.") from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise ValueError(f"{str(path)!r} is no regular file ({stat.filemode(facts.st_mode)}); expected one.")
    with open(descriptor, "rb") as file:
        # It may grow meanwhile.
        content = b"" if facts.st_size > limit else file.read(limit + 1)
    if (size := max(facts.st_size, len(content))) > limit:
        raise ValueError(f"{str(path)!r} has {size} bytes; expected at most {limit}, which no such file comes near.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is no text ({error}); expected UTF-8.") from error


def check_inside(path: Path, folder: Path) -> None:
    """Make sure that a path leads nowhere else than into a folder.

    Raises:
        ValueError: if a link leads out of it: who sends a folder must not choose what of this machine is read.
    """
    inside, target = folder.resolve(), path.resolve()
    allowed = [inside, inside.parent.parent / "blobs"] if inside.parent.name == "snapshots" else [inside]
    if not any(target.is_relative_to(each) for each in allowed):
        raise ValueError(
            f"{str(path)!r} is a link that leads out of its folder; expected files of the folder alone. If you know "
            "what it leads to, put a copy in its place."
        )


def parse_json(text: str, name: str) -> Any:
    """Return the content of JSON.

    Args:
        text: of a file, whose size is bounded.
        name: of the file, for messages.

    Raises:
        ValueError: if it is no JSON, or has too many values, or too deep ones.
    """
    if sum(map(text.count, ",[{")) > _VALUES:
        raise ValueError(f"{name} holds more than {_VALUES} values; expected what no such file comes near.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON that can be read ({_short(error)}).") from error
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > _DEPTH:
            raise ValueError(f"{name} is nested more than {_DEPTH} deep; expected what no such file comes near.")
        containers = [each for each in level if isinstance(each, dict | list)]
        level = [part for each in containers for part in (each.values() if isinstance(each, dict) else each)]
    return content


def read_small_json(path: Path, folder: Path | None = None, limit: int = JSON_BYTES) -> Any:
    """Return the content of a JSON file; arguments and errors as of `read_small_text` and `parse_json`."""
    return parse_json(read_small_text(path, limit, folder), repr(str(path)))


def parse_yaml(text: str, name: str) -> Any:
    """Return the content of YAML, whose aliases are few enough to be written out.

    Args:
        text: of a file or a card's metadata.
        name: of the file, for messages.

    Raises:
        ValueError: if it is no YAML of plain values, or too large, too deep, or too large with its aliases.
    """
    if len(text) > YAML_BYTES:
        raise ValueError(f"{name} holds {len(text)} characters of YAML; expected at most {YAML_BYTES}.")
    try:
        check_shape(text, name)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is no YAML that can be read ({_short(error)}).") from error
    try:
        return yaml.load(text, Loader=LOADER)
    # Not only YAML's own: numbers and dates are made from text that only looks like them.
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"{name} holds a value that can't be read ({_short(error)}).") from error


def read_small_yaml(path: Path, folder: Path | None = None) -> Any:
    """Return the content of a YAML file; arguments and errors as of `read_small_text` and `parse_yaml`."""
    return parse_yaml(read_small_text(path, YAML_BYTES, folder), repr(str(path)))


def check_shape(text: str, name: str) -> None:
    """Make sure that YAML is neither deep, nor large with its aliases, before anything is made of it.

    Args:
        text: whose size is bounded.
        name: of the text, for messages.

    Raises:
        ValueError: if it is.
        YAMLError: if it is no YAML.
    """
    sizes: dict[str, int] = {}
    anchors: list[str | None] = [None]
    totals = [0]
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
            totals.append(1)
            if len(totals) > _DEPTH:
                raise ValueError(f"{name} is nested more than {_DEPTH} deep; expected what no such file comes near.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            size, anchor = totals.pop(), anchors.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1 + len(event.value), event.anchor
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise ValueError(f"{name} holds the alias `*{event.anchor}` within what it stands for.")
            # The composer refuses one that stands for nothing.
            size, anchor = sizes.get(str(event.anchor), 0), None
        else:
            continue
        totals[-1] += size
        if anchor is not None:
            sizes[anchor] = size
        if totals[-1] > _EXPANDED:
            raise ValueError(
                f"{name} becomes more than {_EXPANDED} characters when its aliases are written out; write values in "
                "their place."
            )


def _short(error: Exception) -> str:
    """Return an error's text on one line: some quote what they could not read."""
    return re.sub(r"\s+", " ", str(error))[:300]
