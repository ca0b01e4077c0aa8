"""A card's text, taken apart: tables, sentences, settings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Numbers as people write them, and what is none.
NUMBER = re.compile(r"[-−+]?(?:\d+(?:[.,]\d+)*(?:e[-+]?\d+)?|\b(?:nan|inf(?:inity)?)\b|∞)", re.IGNORECASE)
_SENTENCES = 2000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SEPARATOR = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


@dataclass(frozen=True)
class Table:
    """Cells, without the space around them."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CardText:
    """What a card tells its readers.

    Attributes:
        tables: in their order.
        sentences: those outside of tables that hold a number; of code, lines.
        settings: the content of its blocks of JSON.
    """

    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    settings: tuple[str, ...]


def take_apart(text: str) -> CardText:
    """Take the Markdown of a card apart, as it is shown: without comments, and lines joined to paragraphs.

    Raises:
        ValueError: if it holds more sentences with numbers than anybody reads.
    """
    tables: list[Table] = []
    settings: list[str] = []
    sentences: list[str] = []
    for language, lines in _blocks(_without_comments(text).splitlines()):
        if language == "json":
            settings.append("\n".join(lines))
        elif language is None and len(lines) > 1 and _SEPARATOR.fullmatch(lines[1].strip()):
            head, _, *rows = map(_cells, lines)
            tables.append(Table(head, tuple(rows)))
        elif language is None:
            paragraph = re.sub(r"\s+", " ", " ".join(lines)).strip()
            sentences += [each for each in _SENTENCE_END.split(paragraph) if NUMBER.search(each)]
        else:
            sentences += [line.strip() for line in lines if NUMBER.search(line)]
    if len(sentences) > _SENTENCES:
        raise ValueError(
            f"The card's text holds {len(sentences)} sentences with numbers; expected under {_SENTENCES}."
        )
    return CardText(tuple(tables), tuple(sentences), tuple(settings))


def _without_comments(text: str) -> str:
    kept, rest = [], text
    while rest:
        before, begun, rest = rest.partition("<!--")
        kept.append(before)
        _, _, rest = rest.partition("-->") if begun else ("", "", "")
    return "".join(kept)


def _blocks(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Yield blocks of lines that belong together, and the language of those that are code."""
    block: list[str] = []
    fence: str | None = None
    for line in lines:
        stripped = line.strip()
        is_row = stripped.startswith("|")
        if fence is not None:
            if stripped.rstrip("`") == "" and len(stripped) >= 3:
                yield fence, block
                block, fence = [], None
            else:
                block.append(line)
        elif stripped.startswith("```"):
            yield None, block
            block, fence = [], stripped.strip("`").strip()
        elif not stripped:
            yield None, block
            block = []
        elif stripped.startswith(("#", "- ", "* ")) or (bool(block) and is_row != block[0].strip().startswith("|")):
            yield None, block
            block = [line]
        else:
            block.append(line)
    yield fence, block


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
