"""Files of students that others published: refused before they cost time or memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exrep_hf.files import read_json, read_text
from exrep_hf.publishing.card_files import checked_card, read_entries
from exrep_hf.teacher.cache.manifest import read_manifest

ROOT = Path(__file__).parents[2]
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
)
# What a refusal takes over what importing took: seconds, and MiB at the peak.
MEASURED = """
import resource, sys, time
from pathlib import Path
from exrep_hf.publishing.claims import read_claims
from exrep_hf.publishing.verify import _results
from exrep_hf.teacher.cache.manifest import read_manifest
read = {"claims": read_claims, "results": _results, "manifest": lambda folder: read_manifest(folder / "manifest.json")}
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for folder in sys.argv[2:]:
    before, began = peak(), time.process_time()
    try:
        read[sys.argv[1]](Path(folder))
        print("taken", folder)
    except ValueError as error:
        print(f"{time.process_time() - began:.3f} {peak() - before:.1f} {str(error)[:300]!r}")
"""


def measured(what: str, folders: list[Path]) -> list[tuple[float, float, str]]:
    command = [sys.executable, "-c", MEASURED, what, *map(str, folders)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    return [(float(seconds), float(mib), message) for seconds, mib, message in lines]


def test_hostile_claims(tmp_path: Path) -> None:
    """A second and 100 MB each, and no waiting for a pipe that nobody writes to."""
    card = "---\nlicense: mit\n---\n# me\n"
    cases = {
        "bomb": (card, BOMB),
        "card_bomb": (f"---\n{BOMB}\n---\n", None),
        "large": (card, "- a: 1\n" * 2**20),
        "large_card": (card + "x" * 2**24, None),
        "large_metadata": ("---\n" + "a: 1\n" * 2**17 + "---\n", None),
        "deep": (card, "[" * 100_000),
    }
    folders = []
    for name, (text, entries) in cases.items():
        (folder := tmp_path / name / ".eval_results").mkdir(parents=True)
        (folder.parent / "README.md").write_text(text)
        if entries is not None:
            (folder / "x.yaml").write_text(entries)
        folders.append(folder.parent)
    (pipe := tmp_path / "pipe" / ".eval_results").mkdir(parents=True)
    (pipe.parent / "README.md").write_text(card)
    os.mkfifo(pipe / "x.yaml")
    (tmp_path / "pipe_card").mkdir()
    os.mkfifo(tmp_path / "pipe_card" / "README.md")
    for seconds, mib, message in measured("claims", [*folders, pipe.parent, tmp_path / "pipe_card"]):
        assert seconds < 1 and mib < 100, message
        assert "The claims of" in message and "can't be read" in message


def test_hostile_results(tmp_path: Path) -> None:
    folders = []
    for name, text in {"deep": "[" * 10**6, "large": " " * 2**24, "numbers": "[" + "1" * 10**6 + "]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
        folders.append(tmp_path / name)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "results.json")
    for seconds, mib, message in measured("results", [*folders, tmp_path / "pipe"]):
        assert seconds < 1 and mib < 100, message
        assert "has no readable `results.json`" in message


def test_hostile_manifests(tmp_path: Path) -> None:
    """A few digits that promise a million million images, or as many views."""
    plan = {
        **{"format": "exrep_hf teacher cache", "format_version": 2, "teacher": {}, "preprocessing": None},
        **{"versions": {}, "summary": {}, "shards": {}},
    }
    folders = []
    for name, (samples, rows, views) in {
        "samples": (10**12, 1, 1),
        "views": (1, 1, 10**12),
        "none": (0, 1, 1),
        "negative": (-5, 1, 1),
        "rows": (10, 0, 1),
        "words": ("many", 1, 1),
        "infinite": (float("inf"), 1, 1),
    }.items():
        sizes = {"dataset": {"num_samples": samples}, "storage": {"rows_per_shard": rows}, "views": {"views": views}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(plan | sizes))
        folders.append(tmp_path / name)
    for seconds, mib, message in measured("manifest", folders):
        assert seconds < 1 and mib < 100, message
        assert "is no manifest of stored answers" in message, message


def test_what_is_read(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text('{"a": [1, "ß"]}')
    assert read_json(file) == {"a": [1, "ß"]}
    (tmp_path / "link").symlink_to(file)
    assert read_text(tmp_path / "link") == '{"a": [1, "ß"]}'
    for wrong, message in ((tmp_path, "is no regular file"), (file, "has 16 bytes; expected at most 10")):
        with pytest.raises(ValueError, match=message):
            read_text(wrong, 10)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no text"):
        read_text(file)
    with pytest.raises(FileNotFoundError):
        checked_card(tmp_path / "README.md")
    (tmp_path / "README.md").write_text("no metadata")
    assert checked_card(tmp_path / "README.md") == tmp_path / "README.md"
    (tmp_path / "x.yaml").write_text("- a: 1\n")
    assert read_entries(tmp_path / "x.yaml") == [{"a": 1}]
    assert callable(read_manifest)
