"""Does the text of a card, which people read, say what `results.json` says?"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import ModelCard

from exrep_hf.publishing.card import make_model_card
from exrep_hf.publishing.card_files import checked_card

_FIGURE = re.compile(r"[-+−]?\d+(?:[.,]\d+)*|\bnan\b|\binf\b", re.IGNORECASE)
_MODEL_ID = re.compile(r'model="([^"\n]+)"')
# A table of a run's arms: what a card says of the method is nothing without it.
_EVIDENCE = "Evaluation"
# Code that is no figure: how to load a model, and what to cite.
_NO_FIGURES = frozenset({"python", "bibtex"})

_NAMED, _SHOWN = 10, 200

Kind = Literal["differs", "left out", "reworded", "as said", "of others"]


@dataclass(frozen=True)
class Passage:
    """A row, paragraph or block of code.

    Attributes:
        section: the heading above it.
        table: titles of the columns, of a row; else empty.
        label: what it is found by: a row's first cell, a paragraph without its figures, a block's kind.
        text: as it stands there, on one line.
    """

    section: str
    table: str
    label: str
    text: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where the same figures stand in another card."""
        return self.section, self.table, self.label


@dataclass(frozen=True)
class Finding:
    """A passage with figures, and how it compares with the card that `results.json` makes.

    Attributes:
        kind: `differs`; `left out` (a row of the evidence) or `reworded`; `as said`; or `of others`: not made from
            `results.json` at all.
        section: the heading above it.
        text: as it stands in the card; as `results.json` makes it, where it is missing there.
        expected: what `results.json` makes of one that differs.
    """

    kind: Kind
    section: str
    text: str
    expected: str | None = None

    @property
    def contradicts(self) -> bool:
        """Whether a reader would be told something else than the results say."""
        return self.kind in ("differs", "left out")


def compare_body(folder: Path, results: dict[str, Any]) -> list[Finding]:
    """Compare the figures of a card's text with those of the card that its results make.

    Figures are compared as they are printed. Nothing is measured here: that other arms, and costs, are as the results
    say proves nothing but that.

    Args:
        folder: with the card.
        results: the content of `results.json`.

    Raises:
        ValueError: if there is no card, or the results make none.
    """
    try:
        text = ModelCard.load(checked_card(folder / "README.md")).text
    except (OSError, ValueError) as error:
        raise ValueError(f"The card of {str(folder)!r} can't be read ({error}).") from error
    named = _MODEL_ID.search(text)
    try:
        made = make_model_card(results, named[1] if named else folder.name).text
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"`results.json` of {str(folder)!r} makes no card ({error!r}); expected what `recipes/train.py` writes."
        ) from error
    return list(_compare(list(_passages(text)), list(_passages(made))))


def _compare(there: list[Passage], made: list[Passage]) -> Iterator[Finding]:
    expected: dict[tuple[str, str, str], list[str]] = {}
    for passage in made:
        expected.setdefault(passage.place, []).append(passage.text)
    for passage in there:
        texts = expected.get(passage.place, [])
        if passage.text in texts:
            texts.remove(passage.text)
            yield Finding("as said", passage.section, passage.text)
        elif texts:
            yield Finding("differs", passage.section, passage.text, texts.pop(0))
        else:
            yield Finding("of others", passage.section, passage.text)
    for (section, table, _), texts in expected.items():
        for text in texts:
            yield Finding("left out" if table and section == _EVIDENCE else "reworded", section, text)


def _passages(text: str) -> Iterator[Passage]:
    """Yield what of a card holds figures."""
    section = ""
    for block in _blocks(text):
        first = block[0]
        if first.startswith("#"):
            if _FIGURE.search(first):
                yield Passage(section, "", _FIGURE.sub("#", first), first)
            section = first.lstrip("# ").strip()
        elif first.startswith("```"):
            kind = first.strip("` ")
            if kind not in _NO_FIGURES:
                yield Passage(section, "", f"block {kind}", _plain("\n".join(block[1:])))
        elif first.startswith("|"):
            titles = _row(first)
            for line in block[1:]:
                if not set(line) <= set("|-: "):
                    yield Passage(section, titles, _row(line).split(" | ")[0], _row(line))
        elif _FIGURE.search(joined := " ".join(line.strip() for line in block)):
            yield Passage(section, "", _FIGURE.sub("#", joined), joined)


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield headings, fenced code without its last line, tables and list entries, and paragraphs."""
    block: list[str] = []
    fenced = False
    for line in text.splitlines():
        starts = line.startswith(("#", "- ", "```")) or (line.startswith("|") != (bool(block) and block[0][0] == "|"))
        if fenced:
            fenced = not line.startswith("```")
            block += [line] if fenced else []
            continue
        if block and (not line.strip() or starts):
            yield block
            block = []
        fenced = line.startswith("```")
        block += [line] if line.strip() else []
    if block:
        yield block


def _row(line: str) -> str:
    return " | ".join(cell.strip() for cell in line.strip().strip("|").split("|"))


def _plain(block: str) -> str:
    try:
        return json.dumps(json.loads(block), sort_keys=True)
    except (ValueError, RecursionError):
        return " ".join(block.split())


def body_report(findings: list[Finding]) -> str:
    """Return what there is to say about a card's text, in lines."""
    told = []
    for finding in findings:
        if finding.kind == "differs":
            told.append(f"the card says: {finding.text}\n  results.json: {finding.expected}")
        elif finding.contradicts:
            told.append(f"the card leaves out: {finding.text}")
    kinds = [finding.kind for finding in findings]
    told.append(
        f"the card's text: {kinds.count('as said')} rows and passages with figures are as results.json says, and were "
        "not measured (other arms, costs, settings)"
        + (
            f"; {count} say something else, or are left out"
            if (count := sum(finding.contradicts for finding in findings))
            else ""
        )
    )
    others = [finding.text for finding in findings if finding.kind == "of others"]
    if others:
        shown = "".join(f"\n  {text[:_SHOWN]}" for text in others[:_NAMED])
        told.append(
            f"{len(others)} passages with figures are not made from results.json, and were not measured:{shown}"
        )
    return "\n".join(told)
