"""Nobody's files are lost."""

from pathlib import Path

import pytest

from exrep_hf.study.folder import check_output_dir, checkpoint_to_resume, clear_output_dir
from exrep_hf.training.checkpoints import write_manifest
from exrep_hf.training.only_run import HOLDER_NAME, LOCK_NAME


def test_an_empty_or_new_folder_is_taken(tmp_path: Path) -> None:
    """Files that no run writes are nobody's business."""
    check_output_dir(tmp_path / "new", overwrite=False, resume=False)
    (tmp_path / "notes.txt").write_text("mine")
    check_output_dir(tmp_path, overwrite=True, resume=False)
    clear_output_dir(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("resume", [False, True])
def test_files_of_other_origin(tmp_path: Path, overwrite: bool, resume: bool) -> None:
    """`--output_dir .` in a repository must not replace its README, whatever else is asked for."""
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"not of a run and would be replaced \(README.md\)"):
        check_output_dir(tmp_path, overwrite, resume)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_folders_of_other_tools(tmp_path: Path) -> None:
    """TensorBoard and others use such names too; without proof of a run they are not to be deleted."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "checkpoint-7").mkdir()
    with pytest.raises(ValueError, match=r"not of a run .* \(checkpoint-7, teacher\)"):
        check_output_dir(tmp_path, overwrite=True, resume=False)


@pytest.mark.parametrize("name", [".", "teacher"])
def test_inputs_inside_the_output_folder(tmp_path: Path, name: str) -> None:
    """Distilling from a former run's teacher, into that run's folder, would delete the teacher first."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an input of the run"):
        check_output_dir(tmp_path, overwrite=True, resume=False, inputs=[None, "timm/resnet18", str(tmp_path / name)])


def test_checkpoint_to_resume(tmp_path: Path) -> None:
    """A named checkpoint is the one that is taken; `false` is not true."""
    for step in (2, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 10):
        write_manifest(tmp_path / f"checkpoint-{step}", {})
    named = str(tmp_path / "checkpoint-2")
    assert checkpoint_to_resume("true", tmp_path) == str(tmp_path / "checkpoint-10")
    assert checkpoint_to_resume("True", tmp_path / "none") is None
    assert checkpoint_to_resume(named, tmp_path) == named
    assert checkpoint_to_resume("false", tmp_path) is None
    assert checkpoint_to_resume(None, tmp_path) is None
    with pytest.raises(ValueError, match="expected `true` or the folder of a checkpoint"):
        checkpoint_to_resume("checkpoint-3", tmp_path)


def test_another_run(tmp_path: Path) -> None:
    """A run is kept, continued, or replaced: as was said, and whole."""
    for name in ("results.json", "README.md", "mine.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(ValueError, match=r"holds another run \(README.md, checkpoint-3, results.json\)"):
        check_output_dir(tmp_path, overwrite=False, resume=False)
    check_output_dir(tmp_path, overwrite=False, resume=True)
    check_output_dir(tmp_path, overwrite=True, resume=False)
    assert (tmp_path / "checkpoint-3").is_dir()
    clear_output_dir(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_run_leaves_is_nobodys(tmp_path: Path) -> None:
    """A lock file of its own must not keep a run out of its folder, nor prove that it is a run's."""
    for name in (LOCK_NAME, HOLDER_NAME):
        (tmp_path / name).write_text("")
    check_output_dir(tmp_path, overwrite=False, resume=False)
    check_output_dir(tmp_path, overwrite=False, resume=True)
