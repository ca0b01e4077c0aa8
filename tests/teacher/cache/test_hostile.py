"""Stored answers of others: what they say of themselves is bounded before anything is made of it."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from exrep_hf.data import ViewPolicy
from exrep_hf.files import write_json
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Storage
from exrep_hf.teacher.cache.manifest import Manifest
from exrep_hf.teacher.cache.manifest_file import read_manifest
from exrep_hf.teacher.cache.shard_file import encode_shard
from tests.bounds import assert_refused
from tests.test_untrusted import device, huge, pipe, text

Write = Callable[..., CachedTeacher]
SHARD = "view-0001/shard-00002.safetensors"


@pytest.fixture
def folder(write: Write, tmp_path: Path) -> Path:
    write(tmp_path / "answers")
    return tmp_path / "answers"


def refused(folder: Path, told: str) -> None:
    assert_refused(lambda: CachedTeacher(folder), told)


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("dataset.num_samples", 10**12, r"are 333333333334 files; expected at most 50000"),
        ("dataset.num_samples", 10**30, "`dataset.num_samples` is a longer number; expected a whole number from 1"),
        ("dataset.num_samples", 0, "`dataset.num_samples` is 0"),
        ("dataset.num_samples", True, "`dataset.num_samples` is True"),
        ("dataset.num_samples", 1e400, "`dataset.num_samples` is inf"),
        ("dataset.num_samples", None, "`dataset.num_samples` is None"),
        (
            "dataset.num_samples",
            25,
            r"contradicts itself about the files \['view-0000/shard-00004.safetensors', .*, 2 in all",
        ),
        ("dataset", [], r"`dataset` is \[\]; expected a mapping"),
        ("dataset.name", {"a": []}, "`dataset.name` is .*; expected text"),
        ("storage.rows_per_shard", 0, "`storage.rows_per_shard` is 0"),
        ("storage.rows_per_shard", -1, "`storage.rows_per_shard` is -1"),
        ("storage.rows_per_shard", "6", "`storage.rows_per_shard` is '6'"),
        ("storage.top_k", 6, "`storage.top_k` is 6; expected a whole number from 1 to 5"),
        ("storage.dtype", "float64", "`storage.dtype` is 'float64'"),
        ("views.views", 10**9, "`views.views` is 1000000000; expected a whole number from 1 to 1048576"),
        ("views.views", 10**6, "are 4000000 files; expected at most 50000"),
        ("teacher.num_labels", 10**12, "`teacher.num_labels` is 1000000000000"),
        ("teacher.feature_dim", 10**12, "`teacher.feature_dim` is 1000000000000"),
        ("teacher.id2label", {"0": [1]}, "`teacher.id2label` is .*; expected names of classes by number"),
        ("teacher.id2label", ["a"], "`teacher.id2label` is .*; expected names of classes by number"),
        ("teacher.id2label", {"1" * 5000: "a"}, "`teacher.id2label` is .*; expected names of classes by number"),
        ("shards", [], "is no manifest of stored answers"),
        ("shards." + SHARD, 5, rf"is no manifest of stored answers \(what it says about \['{SHARD}'\]"),
        ("summary", 5, r"is no manifest of stored answers \(what it says about the summary"),
        ("format_version", [3] * 1000, r"have format version \[3, 3"),
    ],
)
def test_manifests(entry: str, value: Any, told: str, folder: Path) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    holder, *inner = entry.split(".", 1)
    if inner:
        content[holder][inner[0]] = value
    else:
        content[holder] = value
    path.write_text(json.dumps(content))
    refused(folder, told)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (pipe, "is no regular file"),
        (device, "leads out of its folder"),
        (huge, "bytes; expected at most"),
        (text("[" * 10**5), "is no JSON that can be read"),
        (text('{"shards": {' + '"a":{},' * 10**6), "more than 500000 values"),
        (text("[]"), "have format version None"),
    ],
)
def test_manifests_that_are_none(make: Callable[[Path], None], told: str, folder: Path) -> None:
    (folder / "manifest.json").unlink()
    make(folder / "manifest.json")
    refused(folder, told)


def header(content: Any) -> bytes:
    written = json.dumps(content).encode()
    return len(written).to_bytes(8, "little") + written


FACTS = {"answers": "{}"}
TABLE = {"dtype": "F16", "shape": [6, 5], "data_offsets": [0, 60]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ((2**40).to_bytes(8, "little"), "its header has 1099511627776 bytes, more than 65536"),
        (header({"__metadata__": FACTS, "logits": TABLE | {"shape": []}}), r"it can't be read"),
        (header({"__metadata__": FACTS, "logits": TABLE | {"shape": [10**400, 5]}}), "sizes that are none"),
        (header({"__metadata__": FACTS, "logits": TABLE | {"data_offsets": [-60, 0]}}), "sizes that are none"),
        (header({"__metadata__": FACTS, "logits": TABLE | {"data_offsets": [0.0, 60.0]}}), "sizes that are none"),
        (header({"__metadata__": {"answers": "[" * 10**4}}), r"it can't be read \(its header is no JSON"),
        (header([]), "it can't be read"),
        (b"\x05" + b"\0" * 7 + b"\xff" * 5, "it can't be read"),
    ],
)
def test_files_of_answers(content: bytes, told: str, folder: Path) -> None:
    path = folder / SHARD
    entries = json.loads((folder / "manifest.json").read_text())
    entries["shards"][SHARD]["bytes"] = len(content)
    (folder / "manifest.json").write_text(json.dumps(entries))
    path.write_bytes(content)
    refused(folder, rf"files of stored answers in .* are damaged: {SHARD}: .*{told}")
    path.unlink()
    os.mkfifo(path)
    refused(folder, rf"are damaged: {SHARD}: it is missing")


def forge(folder: Path, part: str, value: Any) -> None:
    """Let the folder say something else about itself, its files and their checksums too."""
    manifest = read_manifest(folder / "manifest.json")
    plan = dataclasses.replace(manifest.plan, **{part: value})
    shards = {}
    for shard in plan.shards():
        written = encode_shard(load_file(folder / shard.name), plan, shard, 0, 0)
        (folder / shard.name).write_bytes(written)
        shards[shard.name] = {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    write_json(Manifest(plan, shards, manifest.summary).as_dict(), folder / "manifest.json")


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("views", {"mixing": {"mixup": 1.0, "x": 1}}, r"nothing that can be read about their views \(TypeError"),
        ("views", {"mixing": {"mixup": "a"}}, r"nothing that can be read about their views \(TypeError"),
        ("views", {"augmentation": 5}, r"nothing that can be read about their views \(TypeError"),
        ("teacher", {"feature_dim": 4}, r"it has other tables than it says: .*expected widths {'logits': 5, 'feat"),
        ("teacher", {"num_labels": 6}, r"it has other tables than it says: .*expected widths {'logits': 6, 'feat"),
        ("storage", {"top_k": 2}, r"it has other tables than it says: .*'remainder': 8"),
    ],
)
def test_forged_folders(part: str, change: dict[str, Any], told: str, folder: Path) -> None:
    """What a row takes in memory is what the manifest says, not what a file does."""
    forge(folder, part, getattr(read_manifest(folder / "manifest.json").plan, part))
    CachedTeacher(folder, verify="full")
    forge(folder, part, getattr(read_manifest(folder / "manifest.json").plan, part) | change)
    refused(folder, told)


def test_forged_preprocessing(folder: Path) -> None:
    for forged in ({"height": 3}, 5, ["a"]):
        forge(folder, "preprocessing", forged)
        refused(folder, r"nothing that can be read about their views \(")


def test_more_files_than_are_read_are_not_written(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """Told after hours, it would be too late."""
    teacher = make_teacher()
    with pytest.raises(
        ValueError, match="3000 views of 20 images with `rows_per_shard` 1 are 60000 files.*Store more"
    ):
        write(tmp_path / "many", teacher, views=ViewPolicy(3000), storage=Storage(rows_per_shard=1))
    assert teacher.asked == 0 and not (tmp_path / "many").exists()
