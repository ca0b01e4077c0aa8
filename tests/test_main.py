"""`exrep COMMAND`: the commands of an installed package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import exrep_hf.__main__ as entry
from exrep_hf.settings_parser import SHORT_HELP


class _Study:
    """Keeps what it is to run."""

    given: Any = None

    def __init__(self, settings: Any) -> None:
        type(self).given = settings

    def run(self) -> None:
        """Runs nothing."""


def call(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", ["exrep", *argv])
    entry.exrep()


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_of_each_command_fits_two_screens(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it does and examples above the settings."""
    with pytest.raises(SystemExit, match="0"):
        call(monkeypatch, name, "--help")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= SHORT_HELP
    assert any(line.strip().startswith(f"exrep {name} ") for line in lines)


def test_overview(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing given is a question what there is."""
    call(monkeypatch)
    text = capsys.readouterr().out
    call(monkeypatch, "--help")
    assert text == capsys.readouterr().out
    for name in entry.COMMANDS:
        assert f"\n  {name} " in text


def test_an_unknown_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A message with the nearest one, and no traceback."""
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, "trian")
    assert "There is no command 'trian' (did you mean `exrep train`?)" in capsys.readouterr().err


def test_what_a_command_refuses_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with the recipes."""
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, "train", "--config", "digit")
    error = capsys.readouterr().err
    assert "there is no such file" in error and "example digits" in error and "Traceback" not in error


def test_an_example_is_named_without_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--config digits` is read from the package, and the command that is kept works elsewhere too."""
    monkeypatch.setattr("exrep_hf.study.Study", _Study)
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "train", "--config", "digits", "--num_seeds", "1", "--use_cpu")
    settings = _Study.given
    assert settings.data.dataset == "digits" and settings.study.num_seeds == 1
    assert settings.command == "accelerate launch -m exrep_hf train --config digits --num_seeds 1 --use_cpu"


def test_as_a_module() -> None:
    """`accelerate launch -m exrep_hf` calls the same."""
    done = subprocess.run([sys.executable, "-m", "exrep_hf"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: exrep COMMAND")
