"""How a command ends that refuses something, and how it is written down."""

import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType

# Within JSON or YAML: a quoted value that is an absolute path, or one from home, and one without quotes.
_QUOTED = re.compile(r"""(["'])(~?/[^"']*)""")
_ABSOLUTE = re.compile(r"""(^|[\s{\[,])(~?/[^\s"',}\]]*)""")
# Who logs in, within an address.
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
TRACEBACK = "EXREP_TRACEBACK"
"""Environment variable; at 1 a refusal shows where it was raised."""
_PACKAGE = Path(__file__).parent
# What other libraries refuse in settings is as much the user's to mend as what we do.
_SETTINGS = _PACKAGE / "cli.py"
# Long enough for a launcher to end the other processes of one that has failed.
_SECONDS_FOR_MAIN = 2.0
# Flags whose value is a secret, or a place on this machine alone.
_LEFT_OUT = frozenset({"--hub_token", "--output_dir", "--overwrite_output_dir", "--resume_from_checkpoint"})


def public_command(program: str, argv: Sequence[str]) -> str:
    """Write a command line without tokens, and with paths outside the working folder by their last part.

    Args:
        program: what `accelerate launch` is given: a recipe, relative to the project, or `-m` and a module.
        argv: its flags, as `--name value` or `--name=value`.
    """
    return f"accelerate launch {program} {shlex.join(public_flags(argv))}".rstrip()


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
    value = _LOGIN.sub("", value)
    if value.startswith(("{", "[")):
        for pattern in (_QUOTED, _ABSOLUTE):
            value = pattern.sub(lambda match: match[1] + match[2].rsplit("/", 1)[-1], value)
        return flag + sign + value
    if "://" in value:
        return flag + sign + value
    path = Path(value)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return flag + sign + path.relative_to(Path.cwd()).as_posix()
    outside = path.is_absolute() or ".." in path.parts or value.startswith("~")
    return flag + sign + (path.name if outside else value)


def program_name() -> str:
    """Return what was called, as it is typed: `exrep COMMAND`, or the name of a script."""
    name = Path(sys.argv[0]).name
    if name not in ("__main__.py", "exrep"):
        return name
    return " ".join(["exrep", *(part for part in sys.argv[1:2] if part.isalpha())])


def run_command(main: Callable[[], None]) -> None:
    """Call a command; what it refuses is printed as one message, with exit code 2 and without a traceback.

    That is a `ValueError` of this package or of settings, and any `OSError`; of several processes the main one prints.
    Anything else is a fault, and has its traceback.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError) as error:
        if not _is_refusal(error):
            raise
        if int(os.environ.get("RANK", "0")) > 0:
            time.sleep(_SECONDS_FOR_MAIN)
        sys.stdout.flush()
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exc()
        print(f"\n{program_name()}: {error}\n({TRACEBACK}=1 shows where.)", file=sys.stderr, flush=True)
        sys.exit(2)


def _is_refusal(error: ValueError | OSError) -> bool:
    files = [Path(frame.f_code.co_filename) for frame in _frames(error.__traceback__)]
    # A script's own modules lie beside it.
    ours = _PACKAGE in files[-1].parents or files[-1].resolve().parent == Path(sys.argv[0]).resolve().parent
    return isinstance(error, OSError) or ours or _SETTINGS in files


def _frames(trace: TracebackType | None) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(trace)]
