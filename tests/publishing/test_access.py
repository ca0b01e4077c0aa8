"""Rights are looked up before there is anything to push."""

import pytest
from huggingface_hub import HfApi

from exrep_hf.publishing.access import check_main_branch, ensure_repository
from tests.hub_server import Fault, Hub


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_a_repository_of_ones_own(repo_type: str, hub: Hub) -> None:
    """It is made where there is none, and found where there is; a bare name gets the user's."""
    name = f"me/own-{repo_type}"
    assert ensure_repository(name, repo_type, private=None, token=None) == name
    assert ensure_repository(name, repo_type, private=None, token=None) == name
    assert HfApi().repo_exists(name, repo_type=repo_type)
    assert ensure_repository(f"bare-{repo_type}", repo_type, private=None, token=None) == f"me/bare-{repo_type}"


def test_a_study_pushes_to_the_main_branch() -> None:
    """Another one was asked for, and the main one overwritten."""
    check_main_branch(None)
    check_main_branch("main")
    with pytest.raises(ValueError, match="`hub_revision` is 'v2' with `push_to_hub`; expected none"):
        check_main_branch("v2")


def test_private(hub: Hub) -> None:
    ensure_repository("me/secret", "dataset", private=True, token=None)
    assert HfApi().dataset_info("me/secret").private
    assert not HfApi(token="hf_other").repo_exists("me/secret", repo_type="dataset")
    HfApi().create_repo("me/open")
    with pytest.raises(ValueError, match="The model 'me/open' is there and public, and private was asked for"):
        ensure_repository("me/open", "model", private=True, token=None)


def test_wrong_token(hub: Hub) -> None:
    with pytest.raises(
        ValueError, match="to the model 'me/x': The token is missing or not valid: run `hf auth login`"
    ):
        ensure_repository("me/x", "model", private=None, token="hf_wrong")


@pytest.mark.parametrize("exists", [True, False])
def test_repository_of_another_user(exists: bool, hub: Hub) -> None:
    """`create_repo(exist_ok=True)` alone succeeds where it exists, and the push fails hours later."""
    name = f"other/theirs-{exists}"
    if exists:
        HfApi(token="hf_other").create_repo(name)
        HfApi().create_repo(name, exist_ok=True)
    with pytest.raises(ValueError, match="The token may not write there: take a repository of your own"):
        ensure_repository(name, "model", private=None, token=None)


def test_unusable_names(hub: Hub) -> None:
    with pytest.raises(ValueError, match="Nothing can be pushed to the model 'a/b/c'"):
        ensure_repository("a/b/c", "model", private=None, token=None)


def test_the_hub_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.append(Fault(r"hub POST /api/repos/create", 99))
    with pytest.raises(
        ValueError, match="Nothing can be pushed to the model 'me/down': Check the name and the connect"
    ):
        ensure_repository("me/down", "model", private=None, token=None)
