"""The command that a run was started by, as anybody may read it."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

# Within JSON: a string that is an absolute path.
_ABSOLUTE = re.compile(r'(")(/[^"]*)')
# Flags whose value is a secret, or a place on this machine alone.
_LEFT_OUT = frozenset({"--hub_token", "--output_dir", "--overwrite_output_dir", "--resume_from_checkpoint"})


def public_command(script: str, argv: Sequence[str]) -> str:
    """Write a command line without tokens, and with paths outside the working folder by their last part.

    Args:
        script: the recipe, relative to the project.
        argv: its flags, as `--name value` or `--name=value`.
    """
    return shlex.join(["accelerate", "launch", script, *public_flags(argv)])


def public_flags(argv: Sequence[str]) -> list[str]:
    """Return the flags of a command line, as anybody may read them."""
    kept: list[str] = []
    leave_out = False
    for part in argv:
        if part.startswith("--"):
            name = part.split("=")[0].replace("-", "_").replace("__", "--", 1)
            leave_out = name in _LEFT_OUT
        if not leave_out:
            kept.append(_public_part(part))
    return kept


def _public_part(part: str) -> str:
    flag, sign, value = part.partition("=") if part.startswith("--") else ("", "", part)
    if value.startswith("{"):
        return flag + sign + _ABSOLUTE.sub(lambda match: match[1] + match[2].rsplit("/", 1)[-1], value)
    path = Path(value)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return flag + sign + path.relative_to(Path.cwd()).as_posix()
    outside = path.is_absolute() or ".." in path.parts or value.startswith("~")
    return flag + sign + (path.name if outside else value)
