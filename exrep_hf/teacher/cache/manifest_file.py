"""A folder of stored answers says what it holds: read within bounds, as others may have written it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exrep_hf.teacher.cache.manifest import FORMAT_VERSION, Manifest, Plan
from exrep_hf.teacher.cache.plan_checks import check_plan
from exrep_hf.untrusted import read_small_json


def read_plan(path: Path) -> Plan:
    """Read a `plan.json`.

    Raises:
        ValueError: if it can't be read, or is of another format.
    """
    return _plan(_read(path), path)


def read_manifest(path: Path) -> Manifest:
    """Read a `manifest.json`.

    Raises:
        ValueError: if it can't be read, or is of another format.
    """
    content = _read(path)
    plan = _plan(content, path)
    try:
        manifest = Manifest(plan, content["shards"], content["summary"])
        missing = {shard.name for shard in plan.shards()} ^ manifest.shards.keys()
        wrong = [name for name, entry in manifest.shards.items() if not _is_entry(entry)]
        if wrong or not isinstance(manifest.summary, dict):
            raise TypeError(f"what it says about {wrong[:5] or 'the summary'}")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is no manifest of stored answers ({error}). Store them again.") from error
    if missing:
        raise ValueError(
            f"{str(path)!r} contradicts itself about the files {sorted(missing)[:5]}, {len(missing)} in all. "
            "Store the answers again."
        )
    return manifest


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_small_json(path, path.parent)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(path.parent)!r} holds no stored answers of a teacher ({error}); expected a folder that "
            "`recipes/cache_teacher.py` or `CachedTeacher.write` finished."
        ) from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        version = content.get("format_version") if isinstance(content, dict) else None
        raise ValueError(
            f"The stored answers in {str(path.parent)!r} have format version {version!r:.100}; expected "
            f"{FORMAT_VERSION}. Store them again, or use the release that wrote them."
        )
    return content


def _plan(content: Mapping[str, Any], path: Path) -> Plan:
    try:
        plan = Plan(**{field.name: content[field.name] for field in dataclasses.fields(Plan)})
    except KeyError as error:
        raise ValueError(f"{str(path)!r} says nothing about {error}. Store the answers again.") from error
    check_plan(plan, repr(str(path)))
    return plan


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
