"""Which commit of the package is at work: of checkouts, and of what pip installed from a repository."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from exrep_hf.arguments.commit import code_commit, commit_of_checkout, commit_of_installation


def git(folder: Path, *command: str) -> str:
    who = {f"GIT_{role}_{what}": "me" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *command], env=os.environ | who, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a checkout."""
    folder = tmp_path / "checkout" / "package"
    folder.mkdir(parents=True)
    (folder / "code.py").write_text("1")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    return folder


def test_a_checkout(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was changed since, and where anybody could clone it from."""
    commit = git(package.parent, "rev-parse", "HEAD")
    assert commit_of_checkout(package) == {"commit": commit, "changed": False, "url": None}
    (package.parent / "notes.txt").write_text("not of the package")
    git(package.parent, "remote", "add", "origin", "https://me:secret@example.org/me/package.git")
    expected = {"commit": commit, "changed": False, "url": "https://example.org/me/package.git"}
    # Of another repository, whose hook runs us.
    monkeypatch.setenv("GIT_DIR", str(package.parent / "nowhere"))
    assert commit_of_checkout(package) == expected
    (package / "code.py").write_text("2")
    assert commit_of_checkout(package) == expected | {"changed": True}
    for url in ("git@example.org:me/package.git", str(package.parent), "file:///srv/package", "https://localhost/a"):
        monkeypatch.delenv("GIT_DIR", raising=False)
        git(package.parent, "remote", "set-url", "origin", url)
        assert commit_of_checkout(package) == expected | {"changed": True, "url": None}


def test_what_is_no_checkout(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment within somebody's repository is not that repository; and git may be missing."""
    installed = package.parent / ".venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    assert commit_of_checkout(installed) is None
    monkeypatch.setenv("PATH", "")
    assert commit_of_checkout(package) is None


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (
            {"url": "https://example.org/me/package", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}},
            {"commit": "0123456789abcdef", "changed": False, "url": "https://example.org/me/package"},
        ),
        ({"url": "file:///home/me/package", "dir_info": {"editable": True}}, None),
        (None, None),
    ],
)
def test_an_installation(recorded: object, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip writes beside a package that it installed from a repository."""
    folder = tmp_path / "some_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    if recorded is not None:
        (folder / "direct_url.json").write_text(json.dumps(recorded))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert commit_of_installation("some_package") == expected
    assert commit_of_installation("no_such_package") is None


def test_ours() -> None:
    """Where these tests run from a checkout, as they do in development."""
    found = code_commit()
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("no checkout")
    assert found is not None and found["commit"] == git(root, "rev-parse", "HEAD")
