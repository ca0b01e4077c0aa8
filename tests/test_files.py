"""Files are there whole, or not at all."""

import errno
import json
import math
import os
from pathlib import Path

import pytest

from exrep_hf.files import read_json, replacing, write_bytes, write_json
from exrep_hf.finite import NonFiniteError


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A run that fails while writing must not leave half a file over the results of the last one."""
    path = tmp_path / "new" / "results.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json({"a": object()}, path)
    assert read_json(path) == {"a": 1} and path.read_text().endswith("}\n")
    assert os.listdir(path.parent) == ["results.json"]


def test_json_without_numbers_of_its_own(tmp_path: Path) -> None:
    """NaN and Infinity are no JSON: nobody but Python reads such a file."""
    path = tmp_path / "results.json"
    write_json({"a": 1}, path)
    figures = {"runs": [{"after": {"accuracy": 0.5}}, {"after": {"loss": math.nan}}], "best": -math.inf}
    told = r"`results.json` holds .*: `runs\[1\].after.loss` = nan, `best` = -inf; expected finite ones"
    with pytest.raises(NonFiniteError, match=told):
        write_json(figures, path)
    assert read_json(path) == {"a": 1} and os.listdir(tmp_path) == ["results.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that the system has only taken note of may never arrive: they are asked for before the name is given."""
    path = tmp_path / "file"
    write_bytes(b"old", path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(b"new", path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_folders(tmp_path: Path) -> None:
    """A network of which one file was written must not be taken for one that was kept."""
    folder = tmp_path / "network"
    with pytest.raises(RuntimeError, match="interrupted"), replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "config.json").write_text("{}")
        raise RuntimeError("interrupted")
    assert os.listdir(tmp_path) == []
    # What a killed process left does not get in.
    (tmp_path / "network.tmp").mkdir()
    (tmp_path / "network.tmp" / "stale").touch()
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "config.json").write_text(json.dumps({"a": 1}))
    assert os.listdir(folder) == ["config.json"] and os.listdir(tmp_path) == ["network"]
