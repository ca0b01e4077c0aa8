"""Uploads whose result is looked at."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, RepoFile
from huggingface_hub.errors import HTTPError  # of the client that this release uses
from huggingface_hub.utils import filter_repo_objects

logger = logging.getLogger(__name__)


def upload_files(
    folder: Path,
    files: Sequence[str],
    repo_id: str,
    repo_type: str,
    message: str,
    token: str | None,
    again: str,
    parent: str | None = None,
    obsolete: Sequence[str] = (),
) -> str:
    """Upload files as one commit, and compare what the repository then holds with them.

    An answer can be lost after the commit was made, and the client can make it twice: neither is taken for granted.

    Args:
        folder: where they lie.
        files: their paths within it, and in the repository.
        repo_id: `user/name`; it has to exist.
        repo_type: `model` or `dataset`.
        message: of the commit.
        token: the user's; None: the one that is logged in.
        again: the command that pushes again, for messages.
        parent: commit that the repository has to be at; None: any.
        obsolete: patterns of files that are deleted in the same commit, where `files` has none of that name.

    Returns:
        The commit that holds the files.

    Raises:
        OSError: if the upload failed, or the repository holds other files afterwards. Nothing local is changed.
    """
    api = HfApi(token=token)
    try:
        before = api.repo_info(repo_id, repo_type=repo_type).sha
        if parent is not None and before != parent:
            raise OSError(f"the repository was at commit {parent} when it was looked at, and is at {before} now")
        failure: Exception | None = None
        made_commit: str | None = None
        try:
            made_commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                repo_type=repo_type,
                commit_message=message,
                parent_commit=parent,
                allow_patterns=list(files),
                delete_patterns=list(obsolete) or None,
            ).oid
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            failure = error
        different = differing_files(api, folder, files, repo_id, repo_type)
        if obsolete:
            there = api.list_repo_files(repo_id, repo_type=repo_type)
            different += sorted(set(filter_repo_objects(there, allow_patterns=list(obsolete))) - set(files))
        if different:
            reason = failure or f"the repository and the folder differ in {different[:5]}"
            raise OSError(str(reason)) from failure
        if failure is not None:
            logger.warning("The upload to %r ended with an error (%s), but all files are there.", repo_id, failure)
        commits = [commit.commit_id for commit in api.list_repo_commits(repo_id, repo_type=repo_type)]
    except (HTTPError, OSError, ValueError) as error:
        raise OSError(
            f"The upload to the {repo_type} {repo_id!r} failed: {error}. Nothing local is lost; push again with "
            f"`{again}`."
        ) from error
    made = commits.index(before) if before in commits else len(commits)
    if made > 1:
        told = "Since the upload began %r has %d new commits: it was made twice, or others wrote meanwhile."
        logger.warning(told, repo_id, made)
    return made_commit or commits[0]


def differing_files(api: HfApi, folder: Path, files: Sequence[str], repo_id: str, repo_type: str) -> list[str]:
    """Return which local files the repository's main branch lacks, or holds otherwise: by their hashes."""
    tree = api.list_repo_tree(repo_id, repo_type=repo_type, recursive=True)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    different = []
    for name in files:
        entry, path = there.get(name), folder / name
        if entry is None:
            different.append(name)
        elif entry.lfs is not None:
            if entry.lfs.sha256 != _digest(path, hashlib.sha256()):
                different.append(name)
        elif entry.blob_id != _digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size)):
            different.append(name)
    return different


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
