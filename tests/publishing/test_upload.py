"""Uploads over the test Hub: cut, lost, refused, doubled."""

import os
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download

from exrep_hf.publishing.upload import differing_files, upload_files
from tests.hub_server import Fault, Hub

FILES = ["README.md", "part/model.safetensors"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "part").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# card\n")
    (tmp_path / "part" / "model.safetensors").write_bytes(os.urandom(300_000))
    (tmp_path / "notes.txt").write_text("not to be pushed")
    return tmp_path


def push(folder: Path, name: str, repo_type: str = "model") -> str:
    HfApi().create_repo(name, repo_type=repo_type, exist_ok=True)
    return upload_files(folder, FILES, name, repo_type, "All files", None, again="publish again")


def arrived(folder: Path, name: str, repo_type: str = "model") -> bool:
    return all(
        Path(hf_hub_download(name, file, repo_type=repo_type)).read_bytes() == (folder / file).read_bytes()
        for file in FILES
    )


def followed_by(monkeypatch: pytest.MonkeyPatch, name: str, path: str, content: bytes) -> None:
    """Let somebody else commit a file right after each upload."""
    upload = HfApi.upload_folder

    def and_another(self: HfApi, *args: object, **kwargs: object) -> object:
        done = upload(self, *args, **kwargs)  # type: ignore[call-overload]
        HfApi().upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=name)
        return done

    monkeypatch.setattr(HfApi, "upload_folder", and_another)


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_what_arrives(repo_type: str, folder: Path, hub: Hub, transfer: str) -> None:
    """One commit with the files asked for; pushed again unchanged, there is none to make."""
    name = f"me/upload-{repo_type}-{transfer}"
    commit = push(folder, name, repo_type)
    assert HfApi().repo_info(name, repo_type=repo_type).sha == commit
    assert arrived(folder, name, repo_type)
    assert set(HfApi().list_repo_files(name, repo_type=repo_type)) == {".gitattributes", *FILES}
    assert push(folder, name, repo_type) == commit


def test_cut_once(folder: Path, hub: Hub, transfer: str) -> None:
    hub.faults.append(Fault(r"storage (PUT /lfs|POST /v1/xorbs)", 1, after=100_000))
    push(folder, f"me/cut-once-{transfer}")
    assert arrived(folder, f"me/cut-once-{transfer}")


def test_busy_once(folder: Path, hub: Hub, transfer: str) -> None:
    hub.faults.append(Fault(r"storage (PUT /lfs|POST /v1/xorbs)", 1, status=503))
    push(folder, f"me/busy-{transfer}")
    assert arrived(folder, f"me/busy-{transfer}")


def test_commit_refused(folder: Path, hub: Hub, transfer: str) -> None:
    """Nothing local is lost, and the message says how to go on; once more then works."""
    name = f"me/refused-{transfer}"
    HfApi().create_repo(name)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.faults.append(Fault(r"hub POST .*/commit/", 99, status=403))
    with pytest.raises(
        OSError, match=rf"(?s)upload to the model '{name}' failed: .*403.*push again with `publish again`"
    ):
        push(folder, name)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    hub.faults.clear()
    push(folder, name)
    assert arrived(folder, name)


def test_lost_answer(folder: Path, hub: Hub, transfer: str, caplog: pytest.LogCaptureFixture) -> None:
    """The commit was made, and the client doesn't know: a second one must not go unnoticed."""
    name = f"me/lost-{transfer}"
    HfApi().create_repo(name)
    hub.faults.append(Fault(r"hub POST .*/commit/", 1, after=-1))
    commit = push(folder, name)
    assert arrived(folder, name) and HfApi().model_info(name).sha == commit
    made = len(HfApi().list_repo_commits(name)) - 1
    assert ("ended with an error" in caplog.text) or made > 1
    assert ("new commits" in caplog.text) == (made > 1)


def test_commits_of_others_meanwhile(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what the branch holds in the end."""
    name = "me/meanwhile"
    HfApi().create_repo(name)
    followed_by(monkeypatch, name, "README.md", b"spoilt")
    with pytest.raises(OSError, match=r"the repository and the folder differ in \['README.md'\]"):
        push(folder, name)


def test_differing_files(folder: Path, hub: Hub, transfer: str) -> None:
    name = f"me/differing-{transfer}"
    push(folder, name)
    assert differing_files(HfApi(), folder, FILES, name, "model") == []
    (folder / "part" / "model.safetensors").write_bytes(b"\0" + os.urandom(299_999))
    (folder / "new").write_text("")
    assert differing_files(HfApi(), folder, [*FILES, "new"], name, "model") == ["part/model.safetensors", "new"]


def test_no_right_to_write(folder: Path, hub: Hub) -> None:
    HfApi(token="hf_other").create_repo("other/closed")
    with pytest.raises(OSError, match="upload to the model 'other/closed' failed: .*403"):
        upload_files(folder, FILES, "other/closed", "model", "All files", None, again="publish again")


def test_cut_always(folder: Path, hub: Hub, transfer: str) -> None:
    """The client gives up after its retries: an error with the way to go on, and no commit; later it works."""
    name = f"me/cut-always-{transfer}"
    HfApi().create_repo(name)
    before = HfApi().model_info(name).sha
    hub.faults.append(Fault(r"storage (PUT /lfs|POST /v1/xorbs)", 999, after=100_000))
    with pytest.raises(
        OSError, match=rf"(?s)upload to the model '{name}' failed: .*push again with\s+`publish again`"
    ):
        push(folder, name)
    assert HfApi().model_info(name).sha == before
    hub.faults.clear()
    push(folder, name)
    assert arrived(folder, name)


def test_obsolete_files_are_deleted(folder: Path, hub: Hub, transfer: str) -> None:
    """In the same commit; what is uploaded stays, and so does all that nobody calls obsolete."""
    name = f"me/obsolete-{transfer}"
    push(folder, name)
    for other in ("part/old.safetensors", "part/notes.txt"):
        HfApi().upload_file(path_or_fileobj=b"old", path_in_repo=other, repo_id=name)
    before = len(HfApi().list_repo_commits(name))
    obsolete = ["part/*.safetensors", "README.md"]
    upload_files(folder, FILES, name, "model", "All files", None, "publish again", obsolete=obsolete)
    assert set(HfApi().list_repo_files(name)) == {".gitattributes", *FILES, "part/notes.txt"}
    assert arrived(folder, name) and len(HfApi().list_repo_commits(name)) == before + 1


def test_a_repository_that_has_moved_on(folder: Path, hub: Hub) -> None:
    """What somebody wrote after the commit that was looked at is not overwritten."""
    name = "me/moved-on"
    seen = push(folder, name)
    HfApi().upload_file(path_or_fileobj=b"somebody's", path_in_repo="README.md", repo_id=name)
    with pytest.raises(OSError, match=rf"upload to the model 'me/moved-on' failed: .* at commit {seen} .*is at"):
        upload_files(folder, FILES, name, "model", "All files", None, "publish again", parent=seen)
    assert Path(hf_hub_download(name, "README.md")).read_bytes() == b"somebody's"
    # Also where there is nothing to upload.
    (folder / "README.md").write_bytes(b"somebody's")
    with pytest.raises(OSError, match="upload to the model 'me/moved-on' failed"):
        upload_files(folder, FILES, name, "model", "All files", None, "publish again", parent=seen)


def test_lost_answer_to_a_commit_with_a_parent(folder: Path, hub: Hub, transfer: str) -> None:
    """The commit was made; that the client's second one is refused then is no failure."""
    name = f"me/lost-parent-{transfer}"
    HfApi().create_repo(name)
    hub.faults.append(Fault(r"hub POST .*/commit/", 1, after=-1))
    parent = HfApi().model_info(name).sha
    commit = upload_files(folder, FILES, name, "model", "All files", None, "publish again", parent=parent)
    assert arrived(folder, name) and HfApi().model_info(name).sha == commit


def test_the_commit_is_ours(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's later commit, which leaves our files alone, is not taken for it."""
    name = "me/ours"
    HfApi().create_repo(name)
    followed_by(monkeypatch, name, "more.txt", b"more")
    commit = push(folder, name)
    commits = [each.commit_id for each in HfApi().list_repo_commits(name)]
    assert commits.index(commit) == 1
