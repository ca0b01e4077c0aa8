"""A student's folder and its repository on the Hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # of the client that this release uses

from exrep_hf.hub.access import ensure_repository
from exrep_hf.hub.claims import EVAL_RESULTS
from exrep_hf.hub.upload import upload_files

NEEDED = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "results.json")
# Beside what is needed: pictures, the code of models, the variant with its distiller. Named one by one: other files in
# the folder are the user's.
_CODE = (
    *("backbone.py", "configuration_exrep.py", "feature_reader.py", "input_distiller.py", "modeling_exrep.py"),
    "whole_parameters.py",
)
_PATTERNS = ("loss.png", "residual.png", "reliability.png", *_CODE, f"{EVAL_RESULTS}/*.yaml")
_WITH_DISTILLER = ("config.json", "model.safetensors", "preprocessor_config.json", *_CODE)


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
    patterns = [*_PATTERNS, *(f"with_distiller/{name}" for name in _WITH_DISTILLER)]
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [*NEEDED, *(path.relative_to(folder).as_posix() for path in found)]


def push_student(folder: Path, repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Publish a student's folder as it is, as one commit, and compare what arrived.

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
    return upload_files(folder, files, repo_id, "model", "Publish student", token, again)


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
