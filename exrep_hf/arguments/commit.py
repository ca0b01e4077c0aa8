"""Which commit of this package is at work, as far as the checkout or the installation knows it."""

import functools
import json
import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_PACKAGE = Path(__file__).resolve().parents[1]
COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SECONDS = 20


@functools.cache
def code_commit() -> dict[str, Any] | None:
    """Return the commit of the code.

    Returns:
        `commit`, its hash; `changed`, whether files of the package differ from it; `url`, where it can be cloned from
        over https, or None; never a place of this machine. None where no commit is known: git is missing, or the
        package was installed from a wheel without history.
    """
    return commit_of_checkout(_PACKAGE) or commit_of_installation("exrep_hf")


def commit_of_checkout(package: Path) -> dict[str, Any] | None:
    """Return the commit of a package that lies at the top of a checkout; None for any other."""
    root = package.parent
    top = _git(root, "rev-parse", "--show-toplevel")
    # An environment may lie inside somebody else's repository.
    if top is None or Path(top).resolve() != root.resolve():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not COMMIT.fullmatch(commit):
        return None
    changed = _git(root, "status", "--porcelain", "--", package.name)
    return {"commit": commit, "changed": bool(changed), "url": _public_url(_git(root, "remote", "get-url", "origin"))}


def commit_of_installation(name: str) -> dict[str, Any] | None:
    """Return the commit that pip recorded of a package it installed from a repository (PEP 610); None for others."""
    try:
        recorded = distribution(name).read_text("direct_url.json")
        content = json.loads(recorded or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return None
    commit = content.get("vcs_info", {}).get("commit_id")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        return None
    return {"commit": commit, "changed": False, "url": _public_url(content.get("url"))}


def _public_url(url: str | None) -> str | None:
    """Return a repository's address if anybody could clone from it, without a name or token in it."""
    parts = urlsplit(url or "")
    host, path = parts.hostname, parts.path.strip("/")
    if parts.scheme != "https" or not host or "." not in host or not path:
        return None
    return f"https://{host}/{path}"


def _git(folder: Path, *command: str) -> str | None:
    # Hooks and editors set GIT_DIR and its like for the repository that they are about.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=_SECONDS, env=environment
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
