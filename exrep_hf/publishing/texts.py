"""What a student's folder says about itself: card, results and `.eval_results`, which anybody may have written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK

from exrep_hf.report import RESULTS_NAME
from exrep_hf.untrusted import parse_yaml, read_small_json, read_small_text, read_small_yaml

CARD_NAME = "README.md"
EVAL_RESULTS = ".eval_results"
_CARD_BYTES = 2 * 2**20
_FILES_OF_RESULTS = 100


@dataclass(frozen=True)
class CardFile:
    """A card as it stands in its file: the metadata on top, and the text below that people read."""

    metadata: dict[str, Any]
    text: str


def read_card(path: Path, folder: Path | None = None) -> CardFile:
    """Read a card.

    Args:
        path: of the card.
        folder: what a link has to stay in.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no regular file, too large, or its metadata can't be read.
    """
    content = read_small_text(path, _CARD_BYTES, folder)
    found = REGEX_YAML_BLOCK.search(content)
    if found is None:
        return CardFile({}, content)
    metadata = parse_yaml(found.group(2), f"The metadata of {str(path)!r}") or {}
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise ValueError(f"The metadata of {str(path)!r} are no mapping from names to values.")
    return CardFile(metadata, content[found.end() :])


def read_results(folder: Path) -> dict[str, Any]:
    """Read `results.json`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no regular file, too large, or holds no mapping.
    """
    content = read_small_json(folder / RESULTS_NAME, folder)
    if not isinstance(content, dict):
        raise ValueError(f"{str(folder / RESULTS_NAME)!r} holds a {type(content).__name__}; expected a mapping.")
    return content


def read_entries(path: Path, folder: Path | None = None) -> list[dict[str, Any]]:
    """Read a file of `.eval_results`; one that is missing or empty holds nothing.

    Raises:
        ValueError: if it is no regular file, too large, or holds no list of results.
    """
    try:
        content = read_small_yaml(path, folder) or []
    except FileNotFoundError:
        return []
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"{EVAL_RESULTS}/{path.name} is no list of results; mend it first.")
    return content


def files_of_results(folder: Path) -> list[Path]:
    """Return what lies in `.eval_results`, whatever it is.

    Raises:
        ValueError: if there are too many.
    """
    found = sorted((folder / EVAL_RESULTS).glob("*"))
    if len(found) > _FILES_OF_RESULTS:
        raise ValueError(f"`{EVAL_RESULTS}` holds {len(found)} files; expected at most {_FILES_OF_RESULTS}.")
    return found
