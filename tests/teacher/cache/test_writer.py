"""Writing under bad conditions: two writers, a full disk, other versions."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from exrep_hf.teacher import CachedTeacher

Write = Callable[..., CachedTeacher]
ROOT = Path(__file__).parents[3]


def test_the_second_writer_is_refused(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """Both would write the same files, and the slower one would undo the other's manifest."""
    folder = tmp_path / "answers"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        teacher = make_teacher()
        with pytest.raises(ValueError, match="Another process is writing to '.*answers'; expected to be the only one"):
            write(folder, teacher)
        assert teacher.asked == 0
    write(folder)


def test_a_writer_that_was_refused_leaves_the_lock(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    teacher = make_teacher(float("inf"))
    with pytest.raises(ValueError, match="outside the range"):
        write(tmp_path / "answers", teacher)
    assert not (tmp_path / "answers" / "manifest.json").exists()
    write(tmp_path / "answers")


def test_no_room_is_noticed_at_the_start(write: Write, make_teacher: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Hours before the disk would be full."""
    usage = shutil.disk_usage(tmp_path)._replace(free=600)
    monkeypatch.setattr("exrep_hf.teacher.cache.writer.shutil.disk_usage", lambda path: usage)
    teacher = make_teacher()
    with pytest.raises(ValueError, match=r"need 0.00 GB, and the disk of .* has 0.00 GB left. Make room"):
        write(tmp_path / "answers", teacher)
    assert teacher.asked == 0
    # Two views of 20 images of five logits and three features in half precision.
    monkeypatch.setattr("exrep_hf.teacher.cache.writer.shutil.disk_usage", lambda path: usage._replace(free=640))
    write(tmp_path / "answers")


FULL_DISK = """
import shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.teacher.cache.conftest import content, store
folder = Path({folder!r})
folder.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
filler = folder.parent / "mounted"
# Others fill the disk after the check at the start: what is needed is there then.
import exrep_hf.teacher.cache.writer as writer
settle = writer._settle
def settle_and_fill(*args):
    todo = settle(*args)
    blocks = shutil.disk_usage(folder).free // 4096
    (folder / ".filler").write_bytes(b"x" * 4096 * (blocks - 5))
    return todo
writer._settle = settle_and_fill
try:
    store(folder / "answers")
except OSError as error:
    print("refused:", error)
files = content(folder / "answers")
print("whole:", sorted(name for name in files if name.endswith("safetensors")), [n for n in files if n.endswith("tmp")])
(folder / ".filler").unlink()
writer._settle = settle
store(folder / "answers")
store(Path({other!r}))
print("equal:", content(folder / "answers") == content(Path({other!r})))
"""


def test_full_disk(tmp_path: Path) -> None:
    """On a disk of its own that is really full: whole files stay, nothing half-written, and it goes on when there is room."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets users mount nothing")
    script = textwrap.dedent(FULL_DISK).format(root=str(ROOT), folder=str(tmp_path / "disk"), other=str(tmp_path / "o"))
    done = subprocess.run(["unshare", "-Urm", sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    refused, whole, equal = done.stdout.splitlines()
    assert "disk of" in refused and "is full" in refused and "of 8 files are whole and stay" in refused
    count = int(refused.split("is full: ")[1].split(" of")[0])
    assert 0 < count < 8 and whole.count("shard-") == count and whole.endswith("[]")
    assert equal == "equal: True"


def test_other_versions_only_warn(write: Write, tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    """An upgrade in the middle must not cost the answers; that last bits may differ is said."""
    folder = tmp_path / "answers"
    write(folder)
    before = (folder / "manifest.json").read_text()
    monkeypatch.setattr("exrep_hf.teacher.cached.importlib.metadata.version", lambda name: "99")
    (folder / "view-0000" / "shard-00000.safetensors").unlink()
    write(folder, rebuild=True)
    assert "goes on with {'torch': '99'" in caplog.text
    assert (folder / "manifest.json").read_text() == before


def test_what_is_measured_stands_in_the_summary(write: Write, tmp_path: Path) -> None:
    calls = []

    def measure() -> dict[str, Any]:
        calls.append(1)
        return {"cost": {"macs": 3}}

    cached = write(tmp_path / "answers", measure=measure)
    assert cached.manifest.summary["cost"] == {"macs": 3}
    write(tmp_path / "answers", measure=measure)
    assert len(calls) == 1
