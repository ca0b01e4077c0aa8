"""Writing under bad conditions: two writers, a full disk, other versions."""

import errno
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from torch import Tensor

from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Provenance, Storage
from exrep_hf.teacher.cache.writer import _failure_told, _wait_for
from tests.teacher.cache.conftest import Arithmetic

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


def test_all_end_where_one_fails(tmp_path: Path) -> None:
    """A launcher ends the processes of its own machine: those of others waited for ever."""
    failed = tmp_path / ".failed-1"
    with pytest.raises(ValueError, match="row 7"), _failure_told(failed):
        raise ValueError("row 7 is broken")
    with pytest.raises(RuntimeError, match="Another process ended with an error: ValueError: row 7 is broken"):
        _wait_for(lambda: False, failed)
    _wait_for(lambda: True, failed)
    with pytest.raises(RuntimeError), _failure_told(failed):
        _wait_for(lambda: False, failed)
    assert failed.read_text() == "ValueError: row 7 is broken", "the first one is what the others look for"


def test_a_writer_that_was_refused_leaves_the_lock(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    teacher = make_teacher(float("inf"))
    with pytest.raises(ValueError, match="The teacher's logits for 4 of 4 images"):
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
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], check=True)
# Others fill the disk after the check at the start: what is needed is there then.
import exrep_hf.teacher.cache.writer as writer
settle = writer._settle
def settle_and_fill(*args):
    todo = settle(*args)
    blocks = shutil.disk_usage(folder).free // 4096
    (folder / ".filler").write_bytes(b"x" * 4096 * (blocks - 10))
    return todo
writer._settle = settle_and_fill
try:
    store(folder / "answers")
except OSError as error:
    print("refused:", error)
files = content(folder / "answers")
print("whole:", sorted(name for name in files if name.endswith("rs")), [n for n in files if n.endswith("tmp")])
(folder / ".filler").unlink()
writer._settle = settle
store(folder / "answers")
store(Path({other!r}))
print("equal:", content(folder / "answers") == content(Path({other!r})))
"""


def test_full_disk(tmp_path: Path) -> None:
    """On a disk of its own that is really full: whole files stay, nothing half-written, and it goes on."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets users mount nothing")
    script = textwrap.dedent(FULL_DISK).format(
        root=str(ROOT), folder=str(tmp_path / "disk"), other=str(tmp_path / "o")
    )
    done = subprocess.run(["unshare", "-Urm", sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    refused, whole, equal = done.stdout.splitlines()
    assert "disk of" in refused and "is full" in refused and "of 8 files are whole and stay" in refused
    count = int(refused.split("used up: ")[1].split(" of")[0])
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


def test_damage_before_the_manifest_is_mended(write: Write, content_of: Any, tmp_path: Path) -> None:
    """What lies on the disk when writing ends must not become the truth: a bit may have flipped since."""
    expected, folder = tmp_path / "expected", tmp_path / "answers"
    write(expected)
    with pytest.raises(KeyboardInterrupt):
        write(folder, Interrupted(after=26))
    shards = sorted(folder.glob("view-*/*.safetensors"))
    assert len(shards) == 5 and (folder / "plan.json").is_file() and not (folder / "manifest.json").exists()
    data = shards[1].read_bytes()
    shards[1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    shards[3].with_suffix(".sha256").unlink()
    write(folder)
    assert content_of(folder) == content_of(expected)


class Interrupted(Arithmetic):
    """Answers about some images, and then the user stops it."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        if self.asked >= self.after:
            raise KeyboardInterrupt
        return super().__call__(batch)


def test_another_batch_size_goes_on(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """After running out of memory, what was answered stays."""
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "answers", Interrupted(after=26))
    teacher = make_teacher()
    write(tmp_path / "answers", teacher, storage=Storage(rows_per_shard=6, batch_size=1))
    assert teacher.asked == 40 - 26


def test_licences_and_names_of_images_may_change(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """A card that could not be read this time must not cost the answers."""
    write(tmp_path / "answers", provenance=Provenance("me/teacher", "v1", "mit", "me/images", "cc0-1.0"))
    teacher = make_teacher()
    write(tmp_path / "answers", teacher, provenance=Provenance("me/teacher", "v1", None, "elsewhere", None))
    assert teacher.asked == 0


def test_files_of_others_in_the_folder_stay(write: Write, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Interrupted(after=10))
    (tmp_path / "thesis.tmp").write_text("years of work")
    write(tmp_path)
    assert (tmp_path / "thesis.tmp").read_text() == "years of work"


def test_quota(write: Write, tmp_path: Path, monkeypatch: Any) -> None:
    """On clusters it is the quota that is full, with another number than a disk's."""

    def full(data: bytes, path: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("exrep_hf.teacher.cache.shard_writer.write_bytes", full)
    with pytest.raises(OSError, match="quota used up: 0 of 8 files are whole and stay"):
        write(tmp_path / "answers")
