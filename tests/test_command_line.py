"""Commands as anybody may read them, and how they end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exrep_hf import cli
from exrep_hf.arguments.ranges import require
from exrep_hf.command_line import program_name, public_command, public_flags, run_command


def test_secrets_and_places_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left reproduces the run, on another machine too."""
    monkeypatch.chdir(tmp_path)
    argv = ["--config", str(tmp_path / "recipes" / "mine.yaml"), "--hub_token", "hf_secret", "--scale", "0.2", "1.0"]
    argv += [
        "--output_dir=/home/me/out",
        "--teacher",
        "/home/me/teachers/big",
        "--student=~/small",
        "--arm",
        "two words",
    ]
    argv += ["--hub-token=hf_secret", "--dataset", "../images", "--resume_from_checkpoint", "true", "--kd_weight", "2"]
    argv += ["--controls", '{"a": {"teacher": "/home/me/big"}}']
    assert public_command("recipes/train.py", argv) == (
        "accelerate launch recipes/train.py --config recipes/mine.yaml --scale 0.2 1.0 --teacher big --student=small "
        '--arm \'two words\' --dataset images --kd_weight 2 --controls \'{"a": {"teacher": "big"}}\''
    )


def refuse() -> None:
    require(False, "learning_rate", -1, "> 0")


def fault() -> None:
    json.loads("{")


def disk_is_full() -> None:
    raise OSError(28, "No space left on device")


def wrong_setting() -> None:
    cli._parse(cli.SettingsParser(cli.ARGUMENT_CLASSES), ["--output_dir", "out", "--optim", "none"], None)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{a: {class: 'm:C', path: /home/me/secret.pt}}", "{a: {class: 'm:C', path: secret.pt}}"),
        ('{"a": {"b": "/home/my name/x y"}}', '{"a": {"b": "x y"}}'),
        ("{a: ~/x/y.pt, b: 'https://h/x/y'}", "{a: y.pt, b: 'https://h/x/y'}"),
        ("[/a/b, /c/d]", "[b, d]"),
        ("{a/b: c, d: [0.5, 1.0]}", "{a/b: c, d: [0.5, 1.0]}"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
    ],
)
@pytest.mark.parametrize("form", [["--setting"], ["--setting="]])
def test_places_within_values_of_all_kinds(value: str, told: str, form: list[str]) -> None:
    """YAML as the pages show it, and addresses: the command is published."""
    given, wanted = ([form[0] + each] if form[0].endswith("=") else [*form, each] for each in (value, told))
    assert public_flags(given) == wanted


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (refuse, "`learning_rate` is -1; expected > 0."),
        (disk_is_full, "No space left on device"),
        (wrong_setting, "none"),
    ],
)
def test_a_refusal_is_one_message(
    main: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback of somebody's code stands between a user and what to do."""
    monkeypatch.setattr(sys, "argv", ["recipes/train.py"])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and message in told and "Traceback" not in told
    monkeypatch.setenv("EXREP_TRACEBACK", "1")
    if main is not wrong_setting:
        with pytest.raises(SystemExit):
            run_command(main)
        assert "Traceback" in capsys.readouterr().err


def test_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `ValueError` from within another library is not what the user has to mend."""
    monkeypatch.setattr(sys, "argv", ["recipes/train.py"])
    with pytest.raises(json.JSONDecodeError):
        run_command(fault)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_command(interrupted)
    assert ended.value.code == 130


def test_a_recipe_refuses_in_one_message(tmp_path: Path) -> None:
    """As a user starts it; the launcher has one of its own unless it is told to be quiet."""
    root = Path(__file__).parents[1]
    flags = ["recipes/train.py", "--dataset", str(tmp_path / "nowhere"), "--output_dir", str(tmp_path / "out")]
    flags += ["--teacher", str(tmp_path), "--student", str(tmp_path), "--use_cpu", "true"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    alone = subprocess.run([sys.executable, *flags], capture_output=True, text=True, cwd=root, env=environment)
    assert alone.returncode == 2 and "Traceback" not in alone.stderr
    assert alone.stderr.count("No data set found at") == 1 and "nowhere" in alone.stderr
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *flags]
    launched = subprocess.run(launcher, capture_output=True, text=True, cwd=root, env=environment)
    assert launched.returncode != 0 and "Traceback" not in launched.stderr
    assert launched.stderr.count("No data set found at") == 1


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/a/exrep_hf/__main__.py", "train", "--config", "x"], "exrep train"),
        (["/bin/exrep", "report", "out"], "exrep report"),
        (["/bin/exrep", "--nonsense"], "exrep"),
        (["recipes/train.py", "--config", "x"], "train.py"),
    ],
)
def test_name_of_what_was_called(argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert program_name() == name
