"""What a card's text says is compared with what its results say."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from exrep_hf.publishing import make_model_card
from exrep_hf.publishing.card_body import BodyFindings, check_body, notes
from exrep_hf.publishing.card_text import take_apart
from exrep_hf.publishing.texts import read_card, read_results
from tests.bounds import assert_refused

STUDENTS = sorted((Path(__file__).parents[2] / "model_cards").glob("*/results.json"))
NAME = "me/student-2"


@pytest.fixture
def text(results: dict[str, Any]) -> str:
    for number, arm in enumerate(results["arms"].values()):
        terms = {"ce": {"weight": 0.5, "smoothing": 0.1}, "kd": {"weight": number + 1.0, "temperature": 4.0}}
        arm["objective"] = {"terms": terms, "mixup": 1.0, "cutmix": 0.0, "mix_rounds": 2}
        arm["runs"][0]["chosen"] = {"learning_rate": 0.01 * (number + 1), "freeze_batch_norm": None}
    return make_model_card(results, NAME).text


def contradictions(found: BodyFindings) -> list[tuple[str, str | None, str | None]]:
    return [(each.place, each.told, each.expected) for each in found.contradictions]


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_as_it_was_written(text: str, results: dict[str, Any]) -> None:
    """Whatever the folder is called that it was downloaded to."""
    found = check_body(text, results, "0a1b2c3d")
    assert contradictions(found) == [] and found.additions == []
    assert found.unmeasured == [
        "top-1 %, gap recovered %, parameters, MACs/image of 'teacher', 'student before', 'kd', 'exrep', "
        "'exrep, distiller removed'",
        "parameters, MACs an image, images a second of 'teacher', 'student without distiller', "
        "'student with its `light` distiller'",
        "class, top-1 %, images of '0', '1', '2', '3', '4'",
    ]
    assert notes(found)[0].startswith("as in results.json, and not measured here: top-1 %, gap recovered %")


@pytest.mark.parametrize("folder", [path.parent for path in STUDENTS], ids=lambda folder: folder.name)
def test_shipped_cards(folder: Path) -> None:
    found = check_body(read_card(folder / "README.md").text, read_results(folder), folder.name)
    assert contradictions(found) == [] and found.additions == [] and len(found.unmeasured) == 3


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("| kd | 84.0 ± 1.0 |", "| kd | 74.0 ± 1.0 |", ("'kd', 'top-1 %'", "74.0 ± 1.0", "84.0 ± 1.0")),
        ("| kd | 84.0 ± 1.0 |", "| kd | nan ± 1.0 |", ("'kd', 'top-1 %'", "nan ± 1.0", "84.0 ± 1.0")),
        ("| kd | 84.0 ± 1.0 |", "| kd | inf |", ("'kd', 'top-1 %'", "inf", "84.0 ± 1.0")),
        ("| kd | 84.0 ± 1.0 |", "| kd | 84.0 ± 0.1 |", ("'kd', 'top-1 %'", "84.0 ± 0.1", "84.0 ± 1.0")),
        ("| teacher | 90.0 |", "| teacher | 99.0 |", ("'teacher', 'top-1 %'", "99.0", "90.0")),
        ("| 0 | 80.0 | 45 |", "| 0 | 89.0 | 45 |", ("'0', 'top-1 %'", "89.0", "80.0")),
    ],
)
def test_cells(old: str, new: str, expected: tuple[str, str, str], text: str, results: dict[str, Any]) -> None:
    found = check_body(replaced(text, old, new), results, NAME)
    assert contradictions(found) == [expected]
    told = str(found.contradictions[0])
    assert told == f"the text says {expected[1]!r}; `results.json` gives {expected[2]!r}"
    assert math.isfinite(found.contradictions[0].value) == bool(re.match(r"\d", expected[1]))


def test_each_figure_counts(text: str, results: dict[str, Any]) -> None:
    """One digit after the other, in tables, sentences and settings; but not in headings, links, and the snippet."""
    unseen = 0
    for place in [match.start() for match in re.finditer(r"\d", text)]:
        other = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
        found = check_body(other, results, NAME)
        if not found.contradictions:
            unseen += 1
            line = text[text.rfind("\n", 0, place) + 1 : text.find("\n", place)]
            # The name of the model is no figure: whoever renames it renames it.
            assert NAME in line or line.startswith("# "), line
    assert unseen < 10


def test_tables_and_rows_that_are_missing(text: str, results: dict[str, Any]) -> None:
    """A figure without its controls is not to be believed."""
    without = re.sub(r"\| kd \|.*\n", "", text)
    [(place, told, expected)] = contradictions(check_body(without, results, NAME))
    assert (place, told) == ("row 'kd'", None) and str(expected).startswith("kd | 84.0 ± 1.0")
    start = text.index("|  | top-1 %")
    without = text[:start] + text[text.index("\n\n", start) :]
    [(place, told, expected)] = contradictions(check_body(without, results, NAME))
    assert (told, expected) == (None, "5 rows") and "top-1 %" in place
    hidden = text[:start] + "<!--\n" + replaced(text[start:], "\n## Cost", "\n-->\n## Cost")
    assert [place for place, _, _ in contradictions(check_body(hidden, results, NAME))] == [place]


def test_rows_that_results_don_t_have(text: str, results: dict[str, Any]) -> None:
    more = replaced(text, "| kd | 84.0", "| ours | 99.9 ± 0.1 |\n| kd | 84.0")
    [(place, told, expected)] = contradictions(check_body(more, results, NAME))
    assert (place, told, expected) == ("row 'ours'", "ours | 99.9 ± 0.1", None)
    twice = replaced(text, "| kd | 84.0", "| teacher | 10.0 |  | 1.00 M | 5.00 M |\n| kd | 84.0")
    assert ("'teacher', 'top-1 %'", "10.0", "90.0") in contradictions(check_body(twice, results, NAME))


def test_sentences(text: str, results: dict[str, Any]) -> None:
    """Put otherwise is not contradicted; other numbers are, put otherwise or not."""
    old = "All arms took the same number of steps from the same starting student."
    reworded = replaced(text, old, "All arms took the very same number of steps.")
    reworded = replaced(reworded, "public training images; 900 more", "public images for training; but 900 more")
    assert contradictions(check_body(reworded, results, NAME)) == []
    better = replaced(reworded, "100 public images", "10 public images")
    [(place, told, _)] = contradictions(check_body(better, results, NAME))
    assert place == "a sentence" and "10 public images" in str(told)
    beside = text + "\n\nExpected calibration error, 15 bins: 0.001.\n"
    [(_, told, expected)] = contradictions(check_body(beside, results, NAME))
    assert (told, expected) == (
        "Expected calibration error, 15 bins: 0.001.",
        "Expected calibration error, 15 bins: 0.031.",
    )


def test_settings(text: str, results: dict[str, Any]) -> None:
    """Whoever repeats the run takes these."""
    results["configuration"]["training"] = {"learning_rate": 0.01}
    text = make_model_card(results, NAME).text
    other = replaced(text, "learning_rate: 0.01", "learning_rate: 0.1")
    assert contradictions(check_body(other, results, NAME)) == [("setting 'learning_rate'", "0.1", "0.01")]
    broken = replaced(text, "learning_rate: 0.01", "learning_rate: {")
    assert [place for place, _, _ in contradictions(check_body(broken, results, NAME))] == ["training settings"]


def test_settings_that_earlier_versions_gave(results: dict[str, Any]) -> None:
    """A card stays true when less is said in newer ones, as long as its results say the same."""
    results["configuration"]["training"] = {"learning_rate": 0.01, "dataloader_pin_memory": False}
    text = make_model_card(results, NAME).text
    assert "pin_memory" not in text
    for told, expected in (("false", []), ("true", [("setting 'dataloader_pin_memory'", "True", "False")])):
        older = replaced(text, "learning_rate: 0.01", f"learning_rate: 0.01\ndataloader_pin_memory: {told}")
        assert contradictions(check_body(older, results, NAME)) == expected


def test_what_others_add(text: str, results: dict[str, Any]) -> None:
    """It is theirs, and said to be."""
    more = "\n\n## On my photographs\n\nOf 300 of them it named 71 %.\n\n| camera | right |\n|---|---|\n| old | 12 |\n"
    more += "\n```\nspeed 3000\n```\n"
    found = check_body(text + more, results, NAME)
    assert contradictions(found) == []
    assert found.additions == [
        "the table 'camera | right' of 1 rows",
        "Of 300 of them it named 71 %.",
        "speed 3000",
    ]
    assert "not made from results.json: Of 300 of them it named 71 %." in notes(found)


def test_results_that_make_no_card(text: str, results: dict[str, Any]) -> None:
    """Results of others may hold anything."""
    changes: list[dict[str, Any]] = [
        {"arms": {}},
        {"arms": []},
        {"teacher": 3},
        {"dataset": None},
        {"seeds": 1},
        {"versions": []},
    ]
    for change in changes:
        with pytest.raises(ValueError, match="No card can be made from `results.json`"):
            check_body(text, results | change, NAME)
    results["arms"]["kd"]["accuracy"]["mean"] = math.inf
    with pytest.raises(ValueError, match="figures that are not finite: `arms.kd.accuracy.mean` = inf"):
        check_body(text, results, NAME)


@pytest.mark.parametrize(
    "hostile",
    [
        "1. " * 500_000,
        "<!--" * 300_000 + "1",
        "|1|\n" * 300_000,
        "| a |\n|---|\n" + "| 1 |\n" * 200_000,
        "```1" * 300_000,
    ]
    + ["|" + "-" * 10**6 + "x", "a " * 500_000 + "1", "1," * 500_000, "```\n" + "1\n" * 500_000],
    ids=lambda hostile: hostile[:5],
)
def test_hostile_texts(hostile: str, results: dict[str, Any]) -> None:
    """All of it is looked at once."""

    def check() -> None:
        take_apart(hostile)
        check_body(hostile, results, NAME)
        raise ValueError("looked at")

    assert_refused(check, "looked at|sentences with numbers; expected under 2000")
