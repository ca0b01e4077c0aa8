import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.publishing.card_body import Finding, body_report, compare_body

CARDS = Path(__file__).parents[2] / "model_cards"
SHIPPED = sorted(path.parent for path in CARDS.glob("*/results.json"))


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., list[Finding]]:
    """What is found in a copy of a shipped card after some text was replaced."""

    def compare(*changes: tuple[str, str]) -> list[Finding]:
        folder = Path(shutil.copytree(CARDS / "fashion_mnist", tmp_path / "fashion_mnist", dirs_exist_ok=True))
        text = (CARDS / "fashion_mnist" / "README.md").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "README.md").write_text(text)
        return compare_body(folder, json.loads((folder / "results.json").read_text()))

    return compare


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_cards_say_what_their_results_say(folder: Path) -> None:
    findings = compare_body(folder, json.loads((folder / "results.json").read_text()))
    assert {finding.kind for finding in findings} == {"as said"} and len(findings) > 15
    assert "not measured" in body_report(findings)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| exrep | 89.4 ± 0.3 |", "| exrep | 93.9 ± 0.3 |"),
        ("| exrep | 89.4 ± 0.3 |", "| exrep | nan |"),
        ("| kd | 84.3 ± 1.1 |", "| kd | 74.3 ± 1.1 |"),
        ("top-1\n89.7.", "top-1\n98.7."),
        ("top-1\n89.7.", "top-1 inf."),
        ("15 bins: 0.078", "15 bins: 0.007"),
        ("500 public training images", "100 public training images"),
        ("| Shirt | 62.1 |", "| Shirt | 82.1 |"),
        ("| student | 77.42 k |", "| student | 7.42 k |"),
        ('"num_public": 500', '"num_public": 100'),
        ("over 3 seeds", "over 30 seeds"),
    ],
)
def test_a_figure_that_results_do_not_say(compared: Callable[..., Any], old: str, new: str) -> None:
    """It is what people read; the metadata alone was measured."""
    (found,) = [finding for finding in compared((old, new)) if finding.kind != "as said"]
    assert found.kind == "differs" and found.contradicts and found.expected is not None
    assert found.text != found.expected
    report = body_report([found])
    assert found.text in report and found.expected in report and "1 say something else" in report


def test_evidence_that_is_left_out(compared: Callable[..., Any]) -> None:
    """A method without its controls, or with its arms under other titles."""
    row = "| kd | 84.3 ± 1.1 | 32.8 ± 2.7 | 45.7 ± 5.4 | 77.42 k | 2.77 M |\n"
    found = [finding for finding in compared((row, "")) if finding.kind != "as said"]
    assert [finding.kind for finding in found] == ["left out"] and found[0].contradicts
    assert "the card leaves out: kd | 84.3 ± 1.1" in body_report(found)
    kinds = Counter(finding.kind for finding in compared(("data gap recovered % |", "gap |")))
    assert kinds["left out"] == kinds["of others"] == 19


def test_what_others_add_is_named(compared: Callable[..., Any]) -> None:
    """It may be right; nobody here has measured it."""
    findings = compared(
        (
            "## Cost",
            "On my photographs it reaches 97.3 %.\n\n### Top-1: 99\n\n| mine | 98 |\n|---|---|\n| a | 99 |\n\n## Cost",
        )
    )
    others = [finding for finding in findings if finding.kind == "of others"]
    assert [finding.text for finding in others] == ["On my photographs it reaches 97.3 %.", "### Top-1: 99", "a | 99"]
    assert not any(finding.contradicts for finding in findings)
    assert "3 passages with figures are not made from results.json, and were not measured" in body_report(findings)


def test_other_words_are_no_contradiction(compared: Callable[..., Any]) -> None:
    """Of another template's sentence nothing is known, but that its figures stand nowhere in the results."""
    found = [
        each for each in compared(("Expected calibration error, 15 bins:", "ECE (15 bins)")) if each.kind != "as said"
    ]
    assert [finding.kind for finding in found] == ["of others", "reworded"]
    # Wrapped otherwise it is the same text.
    assert {
        each.kind for each in compared(("mean ± standard\ndeviation over", "mean ±\nstandard deviation over"))
    } == {"as said"}


def test_results_that_make_no_card(tmp_path: Path) -> None:
    shutil.copy(CARDS / "fashion_mnist" / "README.md", tmp_path)
    with pytest.raises(ValueError, match="makes no card"):
        compare_body(tmp_path, {"student": {}})
    with pytest.raises(ValueError, match="The card of .* can't be read"):
        compare_body(tmp_path / "nowhere", {})
