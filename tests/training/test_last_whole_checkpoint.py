"""Which of several checkpoints is the newest whole one."""

from pathlib import Path

import pytest

from exrep_hf.training.checkpoints import discard, last_whole_checkpoint, write_manifest


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Whole ones of steps 2, 9 and 10."""
    for step in (2, 9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"123")
        write_manifest(folder, {"seed": 1})
    return tmp_path


def test_steps_are_compared_as_numbers(checkpoints: Path) -> None:
    """As texts, 9 comes after 10: a run would go back to its ninth step for good, and overwrite what came after."""
    assert last_whole_checkpoint(checkpoints) == str(checkpoints / "checkpoint-10")
    (checkpoints / "checkpoint-10" / "weights").write_bytes(b"12")
    assert last_whole_checkpoint(checkpoints) == str(checkpoints / "checkpoint-9")


def test_other_folders_are_no_checkpoints(checkpoints: Path) -> None:
    """A copy that somebody keeps beside the run has no number, or another name."""
    for name in ("checkpoint-10-best", "old-checkpoint-99", "checkpoint-"):
        (checkpoints / "checkpoint-2").rename(checkpoints / name)
        assert last_whole_checkpoint(checkpoints) == str(checkpoints / "checkpoint-10")
        (checkpoints / name).rename(checkpoints / "checkpoint-2")
    assert last_whole_checkpoint(checkpoints / "none") is None


def test_a_discarded_checkpoint_is_gone(checkpoints: Path) -> None:
    discard(checkpoints / "checkpoint-10")
    assert not (checkpoints / "checkpoint-10").exists()
    discard(checkpoints / "checkpoint-10")
    assert last_whole_checkpoint(checkpoints) == str(checkpoints / "checkpoint-9")
