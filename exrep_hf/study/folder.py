"""The output folder: what a run leaves there, and that nobody's files are lost."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exrep_hf.files import as_read_back, read_json
from exrep_hf.publishing.recipe import RECIPE_NAME
from exrep_hf.publishing.student import MODEL_CODE
from exrep_hf.report import RESULTS_NAME
from exrep_hf.report.page import PAGE_NAME
from exrep_hf.teacher.head_file import HEAD_NAME, HEADS_NAME
from exrep_hf.training.checkpoints import last_whole_checkpoint
from exrep_hf.training.same_run import OF_NO_EFFECT

RUN_NAME = "run.json"
SETTINGS_NAME = "settings.json"
# In it: controls that were left out, which has to stay as it was decided.
LEFT_OUT_NAME = "controls_left_out"
TEACHER_NAME = "teacher"
STUDENTS_NAME = "students"
ARMS_NAME = "arms"
# Proof that the folder is a run's own.
PROOFS = (SETTINGS_NAME, RESULTS_NAME)
# What a run writes: in a folder that is not a run's own, it may be anybody's.
WRITTEN = (
    *PROOFS,
    RUN_NAME,
    ARMS_NAME,
    TEACHER_NAME,
    STUDENTS_NAME,
    HEADS_NAME,
    HEAD_NAME,
    "checkpoint-*",
    "README.md",
    RECIPE_NAME,
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "loss.png",
    "residual.png",
    "reliability.png",
    PAGE_NAME,
    ".eval_results",
    # The code that `push_code` puts beside the weights.
    *MODEL_CODE,
    "with_distiller",
)


def _existing(folder: Path) -> list[Path]:
    return [path for pattern in WRITTEN for path in folder.glob(pattern)]


def check_output_dir(folder: Path, overwrite: bool, resume: bool, inputs: Sequence[str | None] = ()) -> None:
    """Make sure that no other run, and no file that is not of a run, would be lost.

    Args:
        folder: the output folder.
        overwrite: a run there is to be replaced.
        resume: a run there is to be continued.
        inputs: names or paths of the teacher, the student and the data set.

    Raises:
        ValueError: if the folder holds a run that is neither to be resumed nor replaced, files of other origin that
            would be replaced, or one of the inputs.
    """
    for name in filter(None, inputs):
        path = Path(name).expanduser()
        if path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"`output_dir` {str(folder)!r} holds an input of the run, {name!r}. Give another folder.")
    found = ", ".join(sorted(path.name for path in _existing(folder)))
    proven = any((folder / name).is_file() for name in PROOFS)
    if not found or (proven and (resume or overwrite)):
        return
    if not proven:
        raise ValueError(
            f"`output_dir` {str(folder)!r} holds files that are not of a run and would be replaced ({found}). Give "
            "another folder."
        )
    raise ValueError(
        f"`output_dir` {str(folder)!r} holds another run ({found}). Give another folder, continue it with "
        "`--resume_from_checkpoint true`, or replace it with `--overwrite_output_dir`."
    )


def clear_output_dir(folder: Path) -> None:
    """Remove a run that `check_output_dir` found replaceable; other files stay."""
    for path in _existing(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def checkpoint_to_resume(asked: str | None, folder: Path) -> str | None:
    """Return the checkpoint that a run starts from: the last one of its folder with `true`, or the one named.

    Raises:
        ValueError: if the named checkpoint is not there.
    """
    if not wants_resume(asked):
        return None
    if str(asked).lower() == "true":
        return last_whole_checkpoint(folder)
    if not Path(str(asked)).is_dir():
        raise ValueError(
            f"`resume_from_checkpoint` is {asked!r}; expected `true` or the folder of a checkpoint, and there is none."
        )
    return asked


def wants_resume(asked: str | None) -> bool:
    """Return whether a value of `resume_from_checkpoint` asks for anything."""
    return asked is not None and str(asked).lower() != "false"


def check_settings(path: Path, now: dict[str, Any]) -> None:
    """Make sure that a study is continued as it was begun; other arms and more seeds may be added.

    Raises:
        ValueError: if it was begun with other settings.
    """
    then = read_json(path)
    compared = {name: then[name] for name in then if name not in ("study", LEFT_OUT_NAME)}
    _refuse_differences("study", path.parent, compared, now)


def read_run(path: Path, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        ValueError: if it was run with other settings than the arm has now.
    """
    record = read_json(path)
    _refuse_differences("finished run", path.parent, record["settings"], settings)
    return record


def _refuse_differences(what: str, folder: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    now = as_read_back(now)
    differing = [
        f"`{name}` {then[part].get(name, 'by default')} then, {now[part].get(name, 'by default')} now"
        for part in then
        for name in sorted((then[part].keys() | now[part].keys()) - OF_NO_EFFECT)
        if then[part].get(name) != now[part].get(name)
    ]
    if differing:
        raise ValueError(
            f"The {what} in {str(folder)!r} had other settings: {'; '.join(differing)}. Continue with the settings it "
            "had, remove that folder, or give another `output_dir`."
        )
