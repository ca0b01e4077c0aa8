"""The files of a model, looked at before anything is built from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

LARGEST_JSON = 4 * 2**20
"""Bytes; that of ImageNet-21k, with all names twice, has about one million."""
MOST_CLASSES = 2**18
LARGEST_SIDE = 2**13
"""Pixels; a batch of one such image has 0.8 GB."""

_CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_CLASS_COUNTS = {"num_labels", "num_classes"}
_CLASS_LISTS = {"id2label", "label2id", "label_names", "label_descriptions"}
_SIDES = {
    *("image_size", "img_size", "input_size", "test_input_size", "size", "crop_size"),
    *("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width"),
}


def check_model_files(name: str, revision: str | None = None) -> None:
    """Make sure that what describes a model, and how it wants its images, is of a size that can be meant.

    A number in a small file is enough to fill all memory.

    Args:
        name: Hub name or folder.
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: if it is a file, a folder of which a revision is asked for, or describes something out of bounds.
        OSError: if there is no such model on the Hub.
    """
    check_no_revision(name, revision)
    if Path(name).is_file():
        raise ValueError(
            f"{name!r} is a file; expected a Hub name, or a folder with config.json and model.safetensors. Weights "
            "alone don't say which network they are of, and pickled ones can run code: load them into their timm "
            "architecture, `timm.create_model(…, checkpoint_path=…)`, write that by `timm.models.save_for_hf(model, "
            "folder)`, and give the folder."
        )
    content = read_description(name, _CONFIG, revision)
    others = content.get("configuration_files", [])
    # For other releases of transformers there may be other files, which take the place of this one.
    for file in others if isinstance(others, list) else []:
        read_description(name, str(file), revision)
    check_processor_files(name, revision)


def check_processor_files(name: str, revision: str | None = None) -> None:
    """Make sure that images are not to be resized to more than `LARGEST_SIDE`; a model may come without such files.

    Raises:
        ValueError: if they are.
    """
    for file in _PROCESSORS:
        read_description(name, file, revision, optional=True)


def check_no_revision(name: str, revision: str | None) -> None:
    """Make sure that no revision is asked of a folder, which has none.

    Raises:
        ValueError: if one is.
    """
    if revision is not None and Path(name).expanduser().is_dir():
        raise ValueError(
            f"The revision {revision!r} was asked for, and {name!r} is a folder, which has no revisions. Leave it "
            "out, or give a Hub name."
        )


def read_description(name: str, file: str, revision: str | None = None, optional: bool = False) -> dict[str, Any]:
    """Read a JSON file of a model.

    Args:
        name: Hub name or folder.
        file: its name there.
        revision: branch, tag or commit on the Hub.
        optional: return an empty dict where there is no such file.

    Raises:
        ValueError: if it is too large, no JSON object, or holds numbers out of bounds.
        OSError: if there is no such file, and it is not optional.
    """
    path = _find(name, file, revision, optional)
    if path is None:
        return {}
    if (size := path.stat().st_size) > LARGEST_JSON:
        raise ValueError(
            f"{file} of {name!r} has {size} bytes; expected at most {LARGEST_JSON}. Check where the model comes from."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} of {name!r} is no JSON ({error}); expected what `save_pretrained` or timm's `save_for_hf` wrote. "
            "Copy or download it again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} of {name!r} holds a {type(content).__name__}; expected settings by name.")
    for key, value in _entries(content):
        _check_entry(f"{file} of {name!r}", key, value)
    return content


def _find(name: str, file: str, revision: str | None, optional: bool) -> Path | None:
    if Path(name).is_dir():
        path = Path(name) / file
        if optional and not path.is_file():
            return None
        if not path.is_file():
            raise FileNotFoundError(f"the folder has no {file}")
        return path
    try:
        found = cached_file(name, file, revision=revision)
    except OSError:
        if optional:
            return None
        raise
    return None if found is None else Path(found)


def _entries(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Walk through all settings, at any depth."""
    parts: list[Any] = [content]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            yield from part.items()
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)


def _check_entry(where: str, key: str, value: Any) -> None:
    if key in _CLASS_COUNTS and isinstance(value, int) and not 0 <= value <= MOST_CLASSES:
        raise ValueError(f"{where} has `{key}` {value}; expected at most {MOST_CLASSES} classes, and no fewer than 0.")
    if key in _CLASS_LISTS and isinstance(value, dict | list) and len(value) > MOST_CLASSES:
        raise ValueError(f"{where} has {len(value)} classes in `{key}`; expected at most {MOST_CLASSES}.")
    if key in _SIDES:
        sides = value if isinstance(value, list) else [value]
        for side in sides:
            if isinstance(side, int | float) and side > LARGEST_SIDE:
                raise ValueError(f"{where} has `{key}` {value}; expected at most {LARGEST_SIDE} pixels a side.")
