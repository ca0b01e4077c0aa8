"""A card's text, taken apart: tables, sentences, settings."""

import re
from collections.abc import Iterable, Iterator
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
        settings: the content of its blocks of JSON, as cards of earlier versions have them.
        recipes: of its blocks of YAML.
    """

    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    settings: tuple[str, ...]
    recipes: tuple[str, ...]


def take_apart(text: str) -> CardText:
    """Take the Markdown of a card apart, as it is shown: without comments, and lines joined to paragraphs.

    Raises:
        ValueError: if it holds more sentences with numbers than anybody reads.
    """
    tables: list[Table] = []
    blocks: dict[str, list[str]] = {"json": [], "yaml": []}
    sentences: list[str] = []
    for language, lines in _blocks(_without_comments(text.splitlines())):
        if language in blocks:
            blocks[language].append("\n".join(lines))
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
    return CardText(tuple(tables), tuple(sentences), tuple(blocks["json"]), tuple(blocks["yaml"]))


def _without_comments(lines: list[str]) -> Iterator[str]:
    """Yield lines without HTML comments; in code there are none."""
    fence, is_hidden = "", False
    for line in lines:
        if fence:
            fence = "" if _closes(line, fence) else fence
            yield line
        elif not is_hidden and (found := _fence(line)):
            fence = found
            yield line
        else:
            kept, rest = [], line
            while rest:
                before, mark, rest = rest.partition("-->" if is_hidden else "<!--")
                kept += [] if is_hidden else [before]
                is_hidden = is_hidden != bool(mark)
            yield "".join(kept)


def _fence(line: str) -> str:
    """Return the backticks that begin a block of code; none for other lines."""
    stripped = line.strip()
    found = stripped[: len(stripped) - len(stripped.lstrip("`"))]
    return found if len(found) >= 3 and "`" not in stripped[len(found) :] else ""


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and not stripped.strip("`")


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Yield blocks of lines that belong together, and the language of those that are code."""
    block: list[str] = []
    fence, language = "", None
    for line in lines:
        stripped = line.strip()
        is_row = stripped.startswith("|")
        if fence:
            if _closes(line, fence):
                yield language, block
                block, fence, language = [], "", None
            else:
                block.append(line)
        elif found := _fence(line):
            yield None, block
            block, fence, language = [], found, stripped.strip("`").strip()
        elif not stripped:
            yield None, block
            block = []
        elif stripped.startswith(("#", "- ", "* ")) or (bool(block) and is_row != block[0].strip().startswith("|")):
            yield None, block
            block = [line]
        else:
            block.append(line)
    yield language, block


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
