"""Does the text of a card say what its `results.json` says? Its readers see the text."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from exrep_hf.publishing.card import make_model_card
from exrep_hf.publishing.card_text import NUMBER, CardText, Table, take_apart
from exrep_hf.publishing.recipe import make_recipe
from exrep_hf.training.card_names import HERE
from exrep_hf.untrusted import parse_json, parse_yaml

# Sentences with so large a share of words in common say the same thing.
_SAME = 0.6
_LONGEST = 1000
# Of many, so many are told.
_TOLD = 20
_LABEL = re.compile(r"- \*\*[^*]{1,50}\*\*")
_NAMED_MODEL = re.compile(r'model="([\w.\-/]{1,200})"')
_TITLE = re.compile(r"^# (.{1,200})$", re.MULTILINE)


@dataclass(frozen=True)
class Contradiction:
    """A figure of the text that `results.json` does not give.

    Attributes:
        place: the row and column of a table, or the sentence's kind.
        told: what stands there; None where it is missing.
        expected: what `results.json` gives; None where it gives nothing.
    """

    place: str
    told: str | None
    expected: str | None

    @property
    def value(self) -> float:
        """What is claimed; NaN where it is no single number."""
        try:
            return float(NUMBER.findall(self.told or "")[0].replace("−", "-"))
        except (IndexError, ValueError):
            return math.nan

    def __str__(self) -> str:
        told = "is missing in the text" if self.told is None else f"the text says {_cut(self.told)!r}"
        return (
            f"{told}; `results.json` gives {'no such figure' if self.expected is None else repr(_cut(self.expected))}"
        )


@dataclass
class BodyFindings:
    """What was found.

    Attributes:
        contradictions: figures that are not those of `results.json`, and rows that are missing.
        unmeasured: rows of a table that agree with it, and that evaluating the weights again neither proves nor
            refutes.
        additions: what others wrote: sentences and tables that hold figures of another origin.
    """

    contradictions: list[Contradiction] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    additions: list[str] = field(default_factory=list)


def check_body(text: str, results: dict[str, Any], name: str) -> BodyFindings:
    """Compare the text of a card with the one that its results make.

    Figures count, not wording: cards of earlier versions were put otherwise.

    Args:
        text: of the card, below its metadata.
        results: the content of `results.json`.
        name: of the model, where the text doesn't name one.

    Raises:
        ValueError: if no card can be made from the results.
    """
    named, title = _NAMED_MODEL.search(text), _TITLE.search(text)
    if named and named[1] != HERE:
        name = named[1]
    elif title:
        # The folder may have another name by now.
        name = re.sub(r"\\(.)", r"\1", title[1])
    try:
        expected = take_apart(make_model_card(results, name).text)
        recipe = parse_yaml(make_recipe(results).text, "the recipe") or {}
    # What others wrote may lack anything.
    except (TemplateError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"No card can be made from `results.json` ({error!r:.300}).") from error
    found = BodyFindings()
    told = take_apart(text)
    _compare_tables(told, expected, found)
    _compare_sentences(told, expected, found)
    _compare_settings(told.settings, parse_json, results["configuration"], {}, found)
    # Earlier versions left fewer settings out.
    left_out = {name: value for part in results["configuration"].values() for name, value in part.items()}
    _compare_settings(told.recipes, parse_yaml, recipe, _flat(left_out), found)
    return found


def _compare_tables(told: CardText, expected: CardText, found: BodyFindings) -> None:
    heads = {table.head: table for table in expected.tables}
    for table in told.tables:
        if table.head in heads:
            _compare_rows(table, heads[table.head], found)
        else:
            found.additions.append(f"the table {_cut(' | '.join(table.head))!r} of {len(table.rows)} rows")
    there = {table.head for table in told.tables}
    for table in expected.tables:
        if table.head not in there:
            head = " | ".join(table.head)
            found.contradictions.append(Contradiction(f"table {_cut(head)!r}", None, f"{len(table.rows)} rows"))


def _compare_rows(told: Table, expected: Table, found: BodyFindings) -> None:
    rows, agreeing = {row[0]: row for row in expected.rows}, []
    for row in told.rows:
        if row[0] not in rows:
            found.contradictions.append(Contradiction(f"row {_cut(row[0])!r}", " | ".join(row), None))
            continue
        cells, place = rows[row[0]], f"{row[0]!r}, "
        differing = [
            Contradiction(place + repr(title), mine, theirs)
            for title, mine, theirs in zip(expected.head, row, cells, strict=False)
            if mine != theirs
        ]
        if len(row) != len(cells):
            differing.append(Contradiction(f"row {row[0]!r}", " | ".join(row), " | ".join(cells)))
        found.contradictions += differing
        agreeing += [] if differing else [row[0]]
    if agreeing:
        found.unmeasured.append(f"{', '.join(filter(None, expected.head))} of {', '.join(map(repr, agreeing))}")
    for name in rows.keys() - {row[0] for row in told.rows}:
        found.contradictions.append(Contradiction(f"row {name!r}", None, " | ".join(rows[name])))


def _compare_sentences(told: CardText, expected: CardText, found: BodyFindings) -> None:
    known = set(expected.sentences)
    words = [(sentence, _words(sentence)) for sentence in expected.sentences]
    for sentence in told.sentences:
        if sentence in known:
            continue
        mine, label = _words(sentence), _LABEL.match(sentence)
        likeness, nearest = max(
            # A label says what a figure is, however little else is kept.
            (1.0 if label and each.startswith(label[0]) else len(mine & theirs) / len(mine | theirs or {""}), each)
            for each, theirs in words
        )
        if likeness < _SAME:
            found.additions.append(_cut(sentence))
        elif not _numbers_agree(sentence, nearest):
            found.contradictions.append(Contradiction("a sentence", sentence, nearest))


def _numbers_agree(told: str, expected: str) -> bool:
    """Return whether a sentence holds the same numbers; one that is put otherwise may hold fewer."""
    mine, theirs = NUMBER.findall(told), NUMBER.findall(expected)
    if NUMBER.sub("#", told) == NUMBER.sub("#", expected):
        return mine == theirs
    return not Counter(mine) - Counter(theirs)


def _words(sentence: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", sentence[:_LONGEST].lower()))


def _compare_settings(
    blocks: Sequence[str],
    read: Callable[[str, str], Any],
    there: dict[str, Any],
    may_be_there: dict[str, str],
    found: BodyFindings,
) -> None:
    for block in blocks:
        try:
            settings = read(block, "it")
        except ValueError:
            found.contradictions.append(Contradiction("training settings", block, "settings that can be read"))
            continue
        mine, theirs = _flat(settings), _flat(there)
        theirs |= {key: value for key, value in may_be_there.items() if key in mine and key not in theirs}
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                found.contradictions.append(Contradiction(f"setting {_cut(key)!r}", mine.get(key), theirs.get(key)))


def _flat(content: Any, place: str = "") -> dict[str, str]:
    """Return settings by dotted name, as text."""
    if not isinstance(content, dict) or not content:
        return {place: repr(content)}
    return {
        key: value for name in content for key, value in _flat(content[name], f"{place}.{name}".lstrip(".")).items()
    }


def notes(found: BodyFindings) -> list[str]:
    """Return what a person should know besides contradictions, a line each."""
    lines = [f"as in results.json, and not measured here: {each}" for each in found.unmeasured]
    lines += [f"not made from results.json: {each}" for each in found.additions]
    return lines[:_TOLD] + ([f"not made from results.json: {len(lines) - _TOLD} more"] if len(lines) > _TOLD else [])


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
