"""Cards and files of figures that others may have written: what they may be before anything of them is read."""

from pathlib import Path
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK

from exrep_hf.arguments.settings_file import read_yaml
from exrep_hf.files import read_text

# Reading YAML takes some 10 s a megabyte.
_LARGEST_CARD = 2**20
_LARGEST_YAML = 2**16


def checked_card(path: Path) -> Path:
    """Return the path of a card that can be read in no time, whoever wrote it.

    Raises:
        ValueError: if it is no regular file, or too large; or its metadata are, or can't be read.
        OSError: if it is not there.
    """
    metadata = REGEX_YAML_BLOCK.search(read_text(path, _LARGEST_CARD))
    if metadata is not None:
        _small_yaml(metadata[2], f"The metadata of {path.name!r}")
    return path


def read_entries(path: Path) -> Any:
    """Return what a file of `.eval_results` holds.

    Raises:
        ValueError: if it is no regular file, too large, or no YAML.
        OSError: if it is not there.
    """
    return _small_yaml(read_text(path, _LARGEST_YAML), f"{path.parent.name}/{path.name}")


def _small_yaml(text: str, what: str) -> Any:
    if len(text) > _LARGEST_YAML:
        raise ValueError(f"{what} has {len(text)} characters; expected at most {_LARGEST_YAML}.")
    return read_yaml(text, what)
