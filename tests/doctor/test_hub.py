"""Whether what is to be pushed can be: looked up, and nothing made."""

import pytest
from huggingface_hub import HfApi

from exrep_hf.doctor import check_hub
from tests.hub_server import Fault, Hub


@pytest.mark.parametrize("exists", [True, False])
def test_a_repository_of_ones_own(exists: bool, hub: Hub) -> None:
    """It may be there already; a bare name gets the user's."""
    name = f"looked-up-{exists}"
    if exists:
        HfApi().create_repo(name)
    for given in (name, f"me/{name}"):
        (found,) = check_hub(given, None, None)
        assert found.level == "fine" and found.what.endswith(f"me/{name}")
    assert HfApi().repo_exists(f"me/{name}") == exists


@pytest.mark.parametrize(
    ("name", "private", "token", "what"),
    [
        ("me/examined", None, "hf_wrong", "The token is missing or not valid"),
        ("other/examined", None, None, "The token may not write there"),
        ("other/new", None, None, "'other' is neither 'me' nor one of its organisations"),
        ("a/b/c", None, None, "Nothing can be pushed to the model 'a/b/c'"),
        ("me/public", True, None, "is there and public, and private was asked for"),
    ],
)
def test_no_access(name: str, private: bool | None, token: str | None, what: str, hub: Hub) -> None:
    """Hours before the push."""
    HfApi(token="hf_other").create_repo("other/examined", exist_ok=True)
    HfApi().create_repo("me/public", exist_ok=True)
    (found,) = check_hub(name, private, token)
    assert found.level == "waste" and what in found.what and "--push_to_hub" in found.remedy


def test_the_hub_is_down(hub: Hub) -> None:
    hub.faults.append(Fault(r"hub GET /api/whoami-v2", 99, 503))
    (found,) = check_hub("me/down", None, None)
    assert found.level == "waste" and "Check the name and the connection" in found.what
