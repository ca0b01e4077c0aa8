"""A student's folder and its repository on the Hub."""

import json
import logging
import os
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError  # of the client that this release uses

from exrep_hf.hub.access import ensure_repository
from exrep_hf.hub.card_entries import keep_entries
from exrep_hf.hub.claims import EVAL_RESULTS
from exrep_hf.hub.model_card import make_model_card
from exrep_hf.hub.upload import differing_files, upload_files

logger = logging.getLogger(__name__)

NEEDED = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json")
# Beside what is needed: pictures, the code of models, the variant with its distiller. Named one by one: other files in
# the folder are the user's.
_CODE = (
    *("backbone.py", "configuration_exrep.py", "feature_reader.py", "input_distiller.py", "modeling_exrep.py"),
    "whole_parameters.py",
)
_WITH_DISTILLER = ("config.json", "model.safetensors", "preprocessor_config.json", *_CODE)
_OPTIONAL = (
    *("loss.png", "residual.png", "reliability.png", *_CODE),
    *(f"with_distiller/{name}" for name in _WITH_DISTILLER),
)


def student_files(folder: Path) -> list[str]:
    """What of a student's folder is published, as paths within it: no checkpoints, controls, or settings of the run.

    Raises:
        ValueError: if something is missing without which nobody can load or judge it.
    """
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{str(folder)!r} is no student that can be published: it has no {', '.join(missing)}. Give the "
            "`output_dir` of a finished run of `recipes/train.py`."
        )
    figures = sorted(path.relative_to(folder).as_posix() for path in folder.glob(f"{EVAL_RESULTS}/*.yaml"))
    return [*NEEDED, *(name for name in _OPTIONAL if (folder / name).is_file()), *figures]


def write_card(folder: Path, repo_id: str) -> None:
    """Write a student's card anew from its `results.json`, for the name that it is published by.

    Raises:
        ValueError: if the folder is no student.
    """
    student_files(folder)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    temporary = folder / "README.md.tmp"
    make_model_card(results, repo_id).save(temporary)
    os.replace(temporary, folder / "README.md")


def push_student(folder: Path, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Publish a student's folder as one commit, and compare what arrived.

    Files of an earlier student that this one does not have are deleted. Where the repository has these weights
    already, figures that others added to its card are taken over into the folder's card; nothing else is changed.

    Args:
        folder: of a finished run, or of `model_cards/`.
        repo_id: `user/name`; it is made where there is none.
        private: of a new repository; None: as the account's settings say.
        token: the user's; None: the one that is logged in.

    Returns:
        The commit.

    Raises:
        ValueError: if the folder is no student, or the token may not write there.
        OSError: if the upload failed; everything is kept, and the message says how to push again.
    """
    files = student_files(folder)
    repo_id = ensure_repository(repo_id, "model", private, token)
    again = f"python recipes/publish.py {folder} --repo_id {repo_id}"
    try:
        _take_over_figures(folder, files, repo_id, token)
    except (HTTPError, OSError, ValueError) as error:
        raise OSError(
            f"What the model {repo_id!r} holds can't be read ({error}). Push again with `{again}`."
        ) from error
    if f'model="{repo_id}"' not in (folder / "README.md").read_text(encoding="utf-8"):
        told = "The card's lines to load the model don't name %r: `%s --write_card` writes it anew from results.json."
        logger.warning(told, repo_id, again)
    return upload_files(folder, files, repo_id, "model", "Publish student", token, again, obsolete=_OPTIONAL)


def _take_over_figures(folder: Path, files: list[str], repo_id: str, token: str | None) -> None:
    """Keep what others claim about these weights; say what was claimed about others."""
    api = HfApi(token=token)
    there = set(api.list_repo_files(repo_id))
    if "model.safetensors" not in there or "README.md" not in there:
        return
    if not differing_files(api, folder, ["model.safetensors"], repo_id, "model"):
        keep_entries(folder / "README.md", Path(hf_hub_download(repo_id, "README.md", token=token)))
        return
    stale = sorted(name for name in there - set(files) if name.startswith(f"{EVAL_RESULTS}/"))
    if stale:
        logger.warning("%s of %r stay, and speak of the weights that were there before.", ", ".join(stale), repo_id)


def fetch_student(name_or_path: str, revision: str | None = None) -> Path:
    """The folder of a student: the one named, or a download of all that its repository holds.

    Raises:
        ValueError: if there is none.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(name_or_path, revision=revision))
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ValueError(
            f"{name_or_path!r} is no folder here, and as a model on the Hub{at} it can't be had ({error}). Check the "
            "name and the connection; a download that was cut goes on when it is tried again."
        ) from error
