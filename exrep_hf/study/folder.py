"""The output folder: what a run leaves there, and that nobody's files are lost."""

import shutil
from pathlib import Path

from exrep_hf.report import RESULTS_NAME

RUN_NAME = "run.json"
TEACHER_NAME = "teacher"
# What only a run leaves behind.
TRACES = (RESULTS_NAME, RUN_NAME, "runs", TEACHER_NAME, "checkpoint-*")
# What a run writes and others write too.
REPLACED = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "loss.png", "residual.png")


def _existing(folder: Path) -> tuple[list[Path], list[Path]]:
    traces = [path for pattern in TRACES for path in folder.glob(pattern)]
    return traces, [path for path in map(folder.joinpath, REPLACED) if path.exists()]


def check_output_dir(folder: Path, overwrite: bool, resume: bool) -> None:
    """Make sure that no other run, and no file that is not of a run, would be lost.

    Raises:
        ValueError: if the folder holds a run that is neither to be resumed nor replaced, or files of other origin that
            would be replaced.
    """
    traces, replaced = _existing(folder)
    found = ", ".join(sorted(path.name for path in [*traces, *replaced]))
    if not found or (traces and (resume or overwrite)):
        return
    if not traces:
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
    traces, replaced = _existing(folder)
    for path in [*traces, *replaced]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
