"""`exrep COMMAND …`, and `accelerate launch -m exrep_hf COMMAND …` for several processes."""

import ast
import difflib
import importlib
import sys
from importlib.resources import files

from exrep_hf.command_line import run_command

COMMANDS = ("train", "cache", "doctor", "evaluate", "export", "publish", "verify", "report")


def main() -> None:
    """Run the command that stands first on the command line.

    Raises:
        ValueError: if there is none of this name, with the nearest one.
    """
    name, *argv = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(overview())
        return
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"There is no command {name!r} (did you mean `exrep {nearest}`?).\n\n{overview()}")
    importlib.import_module(f"exrep_hf.commands.{name}").main(argv)


def overview() -> str:
    """Return all commands with what each does, without importing what they need."""
    lines = ["usage: exrep COMMAND [--SETTING VALUE ...]", ""]
    for name in COMMANDS:
        source = (files("exrep_hf") / "commands" / f"{name}.py").read_text(encoding="utf-8")
        lines.append(f"  {name:9} {(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")
    lines += [
        "",
        "`exrep COMMAND --help` lists its settings; several processes: `accelerate launch -m exrep_hf COMMAND …`.",
    ]
    return "\n".join(lines)


def exrep() -> None:
    """Entry point of the installed command."""
    run_command(main)


if __name__ == "__main__":
    exrep()
