"""The two helps."""

import argparse
from dataclasses import dataclass, field

import pytest

from exrep_hf.settings_parser import SHORT_HELP, SettingsParser


@dataclass
class Many:
    """More settings than two screens hold."""

    _argument_group_name = "many"

    first: int = field(default=1, metadata={"help": "What counts, e.g. `1`; 100 %% of it. The rest is `explained`."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Rare."})
    last: str | None = field(default=None, metadata={"help": "A long one: " + "word " * 40})


def test_what_fits_two_screens_is_shown_in_full() -> None:
    """A short help that says less than there is room for makes people ask twice."""
    text = SettingsParser([Many]).format_help()
    assert "The rest is `explained`. (default: 1)" in " ".join(text.split())


def test_of_more_there_is_a_line_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sentence, cut where a line ends; what hardly anybody sets stands in the full help alone."""
    monkeypatch.setattr("exrep_hf.settings_parser.SHORT_HELP", 5)
    parser = SettingsParser([Many], usage="exrep many")
    lines = parser.format_help().splitlines()
    assert lines[0] == "usage: exrep many"
    assert lines[-4] == "many:" and lines[-1].startswith("`--help-all` explains")
    assert lines[-3].split(maxsplit=1) == ["--first", "What counts, e.g. `1`; 100 % of it"]
    assert lines[-2].startswith("  --last ") and lines[-2].endswith("word …") and len(lines[-2]) <= 119
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(["--help-all"])
    text = capsys.readouterr().out
    assert "--logging_nan_inf_filter" in text and "The rest is `explained`." in " ".join(text.split())


def test_settings_do_not_hold_the_flag_for_the_full_help() -> None:
    """A dataclass has no field of that name."""
    (read,) = SettingsParser([Many]).parse_args_into_dataclasses(["--first", "3"], look_for_args_file=False)
    assert read == Many(first=3)
    assert isinstance(SettingsParser([Many]), argparse.ArgumentParser) and SHORT_HELP == 120
