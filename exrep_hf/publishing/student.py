"""A student's folder and its repository on the Hub."""

import logging
import re
from importlib.resources import files
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError  # of the client that this release uses

from exrep_hf.files import replacing
from exrep_hf.finite import check_figures, check_files
from exrep_hf.models import check_no_revision
from exrep_hf.publishing.access import ensure_repository
from exrep_hf.publishing.card import make_model_card
from exrep_hf.publishing.card_figures import are_all_ours, keep_entries, keep_eval_results
from exrep_hf.publishing.recipe import RECIPE_NAME, make_recipe
from exrep_hf.publishing.texts import (
    CARD_NAME,
    EVAL_RESULTS,
    files_of_results,
    read_card,
    read_entries,
    read_results,
)
from exrep_hf.publishing.upload import differing_files, upload_files
from exrep_hf.untrusted import check_inside

logger = logging.getLogger(__name__)

NEEDED = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json")
# What figures are about.
_STUDENT = ("config.json", "model.safetensors", "preprocessor_config.json")
# Beside what is needed: pictures, the code of models, the variant with its distiller. Named one by one: other files in
# the folder are the user's.
MODEL_CODE = tuple(
    sorted(path.name for path in files("exrep_hf.models").iterdir() if re.fullmatch(r"[a-z]\w*\.py", path.name))
)
"""The code of models: what `push_code` puts beside the weights, and what one has to delete."""
_WITH_DISTILLER = (*_STUDENT, *MODEL_CODE)
_OPTIONAL = (
    *(RECIPE_NAME, "loss.png", "residual.png", "reliability.png", *MODEL_CODE),
    *(f"with_distiller/{name}" for name in _WITH_DISTILLER),
)


def student_files(folder: Path) -> list[str]:
    """Return what of a student's folder is published, as paths within it: no checkpoints, controls or settings.

    Raises:
        ValueError: if something is missing without which nobody can load or assess it, or is a link to elsewhere.
    """
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{str(folder)!r} is no student that can be published: it has no {', '.join(missing)}. Give the "
            "`output_dir` of a finished run of `recipes/train.py`."
        )
    figures = sorted(
        path.relative_to(folder).as_posix() for path in files_of_results(folder) if path.suffix == ".yaml"
    )
    published = [*NEEDED, *(name for name in _OPTIONAL if (folder / name).is_file()), *figures]
    for name in published:
        check_inside(folder / name, folder)
    return published


def check_student(folder: Path) -> None:
    """Make sure that a student's folder holds what can be published: all of it, with finite weights and figures.

    Raises:
        ValueError: if something is missing, or is not finite, naming it.
    """
    published = student_files(folder)
    weights = [folder / name for name in published if name.endswith(".safetensors")]
    check_files(weights, "Such a student answers nothing: train it again.")
    check_figures(read_results(folder), "`results.json`")
    check_figures(read_card(folder / CARD_NAME, folder).metadata, "The card")
    for name in published:
        if name.startswith(f"{EVAL_RESULTS}/"):
            check_figures(read_entries(folder / name, folder), f"`{name}`")


def write_card(folder: Path, repo_id: str) -> None:
    """Write a student's card, and its recipe, again from its `results.json`, for the name that it is published by.

    Raises:
        ValueError: if the folder is no student.
    """
    student_files(folder)
    results = read_results(folder)
    with replacing(folder / "README.md") as temporary:
        make_model_card(results, repo_id).save(temporary)
    make_recipe(results).write(folder)


def push_student(folder: Path, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Publish a student's folder as one commit, and compare what arrived.

    Files of an earlier student that this one does not have are deleted, but for what others wrote into
    `.eval_results`. Where the repository holds this very student, figures that were added to its card are taken over
    into the folder's; nothing else is changed.

    Args:
        folder: of a finished run, or of `model_cards/`.
        repo_id: `user/name`; it is made where there is none.
        private: of a new repository; None: as the account's settings say.
        token: the user's; None: the one that is logged in.

    Returns:
        The commit.

    Raises:
        ValueError: if the folder is no student, or not a finite one, or the token may not write there.
        OSError: if the upload failed; everything is kept, and the message says how to push again.
    """
    check_student(folder)
    repo_id = ensure_repository(repo_id, "model", private, token)
    again = f"python recipes/publish.py {folder} --repo_id {repo_id}"
    try:
        parent = str(HfApi(token=token).model_info(repo_id).sha)
        stale = _take_over_figures(folder, repo_id, parent, token)
    except (HTTPError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise OSError(
            f"What the model {repo_id!r} holds can't be read ({error!r}). Push again with `{again}`."
        ) from error
    if f'model="{repo_id}"' not in read_card(folder / CARD_NAME, folder).text:
        told = "The card's lines to load the model don't name %r: `%s --write_card` writes it again from results.json."
        logger.warning(told, repo_id, again)
    published, obsolete = student_files(folder), [*_OPTIONAL, *stale]
    return upload_files(folder, published, repo_id, "model", "Publish student", token, again, parent, obsolete)


def _take_over_figures(folder: Path, repo_id: str, commit: str, token: str | None) -> list[str]:
    """Keep what others claim about this student; of an earlier one, name the files that claim nothing but our own."""
    api = HfApi(token=token)
    there = set(api.list_repo_files(repo_id, revision=commit))
    claims = sorted(name for name in there if name.startswith(f"{EVAL_RESULTS}/"))

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repo_id, name, revision=commit, token=token))

    if not differing_files(api, folder, _STUDENT, repo_id, "model"):
        if "README.md" in there:
            keep_entries(folder / "README.md", fetch("README.md"))
        for name in claims:
            keep_eval_results(folder / name, fetch(name))
        return []
    others = [name for name in claims if not (folder / name).is_file()]
    stale = [name for name in others if are_all_ours(fetch(name))]
    if left := sorted(set(others) - set(stale)):
        logger.warning("%s of %r stay, and speak of the student that was there before.", ", ".join(left), repo_id)
    return stale


def fetch_student(name_or_path: str, revision: str | None = None) -> Path:
    """Return the folder of a student: the one named, or a download of all that its repository holds.

    Raises:
        ValueError: if there is none, or it is a folder, and a revision of it is asked for.
    """
    check_no_revision(name_or_path, revision)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(name_or_path, revision=revision))
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ValueError(
            f"{name_or_path!r} is no folder here, and as a model on the Hub{at} it is not available ({error}). Check "
            "the name and the connection; a download that was cut goes on when it is tried again."
        ) from error
