"""The output folder: what a run leaves there, and that nobody's files are lost."""

import shutil
from pathlib import Path

from exrep_hf.report import RESULTS_NAME

RUN_NAME = "run.json"
# What only a run leaves behind.
TRACES = (RESULTS_NAME, RUN_NAME, "runs", "teacher", "checkpoint-*")
# What a run writes and others write too.
REPLACED = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "loss.png", "residual.png")


def claim_output_dir(folder: Path, overwrite: bool, resume: bool) -> None:
    """Make sure that no other run, and no file that is not of a run, is lost.

    Raises:
        ValueError: if the folder holds a run that is neither to be resumed nor replaced, or files of other origin that
            would be replaced.
    """
    traces = [path for pattern in TRACES for path in folder.glob(pattern)]
    replaced = [path for path in map(folder.joinpath, REPLACED) if path.exists()]
    found = ", ".join(sorted(path.name for path in [*traces, *replaced]))
    if not found or (resume and traces):
        return
    if not traces:
        raise ValueError(
            f"`output_dir` {str(folder)!r} holds files that are not of a run and would be replaced ({found}). Give "
            "another folder."
        )
    if not overwrite:
        raise ValueError(
            f"`output_dir` {str(folder)!r} holds another run ({found}). Give another folder, continue it with "
            "`--resume_from_checkpoint true`, or replace it with `--overwrite_output_dir`."
        )
    for path in [*traces, *replaced]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
