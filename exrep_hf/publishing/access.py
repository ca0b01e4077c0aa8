"""Whether one may write to a repository, asked before hours of work."""

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import validate_repo_id

_REMEDIES = {
    401: "The token is missing or not valid: run `hf auth login`, or set HF_TOKEN",
    403: "The token may not write there: take a repository of your own, or a token with write access",
    404: "There is no such repository that the token may see",
}


def check_main_branch(revision: str | None) -> None:
    """Make sure that no other branch is asked for than the one that a study pushes to.

    Raises:
        ValueError: if one is.
    """
    if revision not in (None, "main"):
        raise ValueError(
            f"`hub_revision` is {revision!r} with `push_to_hub`; expected none: a study pushes to the main branch. "
            "Leave it out, or push the finished folder yourself (`hf upload … --revision`)."
        )


def ensure_repository(repo_id: str, repo_type: str, private: bool | None, token: str | None) -> str:
    """Make a repository where there is none, and check that the token may write to it.

    Args:
        repo_id: `user/name`.
        repo_type: `model` or `dataset`.
        private: of a new one; None: as the account's settings say.
        token: the user's; None: the one that is logged in.

    Returns:
        The full name: a bare `name` gets the user's.

    Raises:
        ValueError: if the Hub can't be reached, or doesn't allow it, or it is public and should not be.
    """
    try:
        # For a repository of others this succeeds as long as it exists: hence the second question.
        full = HfApi(token=token).create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True).repo_id
    except (HTTPError, OSError, ValueError) as error:
        raise _refused(repo_id, repo_type, error) from error
    check_write_access(full, repo_type, token)
    _check_private(
        full, repo_type, private, not private or HfApi(token=token).repo_info(full, repo_type=repo_type).private
    )
    return full


def check_can_push(repo_id: str, repo_type: str, private: bool | None, token: str | None) -> str:
    """Check that a repository could be written to, or made; nothing is made.

    Args:
        repo_id: `user/name`.
        repo_type: `model` or `dataset`.
        private: whether it is to be private; None: as the account's settings say.
        token: the user's; None: the one that is logged in.

    Returns:
        The full name: a bare `name` gets the user's.

    Raises:
        ValueError: if the Hub can't be reached, or doesn't allow it, or it is public and should not be.
    """
    api = HfApi(token=token)
    try:
        validate_repo_id(repo_id)
        account = api.whoami()
        full = repo_id if "/" in repo_id else f"{account['name']}/{repo_id}"
        if not api.repo_exists(full, repo_type=repo_type):
            owner = full.split("/")[0]
            if owner not in (account["name"], *(each["name"] for each in account.get("orgs", ()))):
                raise ValueError(f"{owner!r} is neither {account['name']!r} nor one of its organisations")
            return full
        is_private = api.repo_info(full, repo_type=repo_type).private
    except (HTTPError, OSError, ValueError) as error:
        raise _refused(repo_id, repo_type, error) from error
    check_write_access(full, repo_type, token)
    _check_private(full, repo_type, private, is_private)
    return full


def check_write_access(repo_id: str, repo_type: str, token: str | None) -> None:
    """Check that there is a repository, and that the token may write to it.

    Raises:
        ValueError: if not, saying what to do.
    """
    try:
        HfApi(token=token).auth_check(repo_id, repo_type=repo_type, write=True)
    except (HTTPError, OSError, ValueError) as error:
        raise _refused(repo_id, repo_type, error) from error


def _check_private(repo_id: str, repo_type: str, wanted: bool | None, is_private: bool | None) -> None:
    if wanted and not is_private:
        raise ValueError(
            f"The {repo_type} {repo_id!r} is there and public, and private was asked for. Take another name, or make "
            "it private in its settings."
        )


def _refused(repo_id: str, repo_type: str, error: Exception) -> ValueError:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    remedy = _REMEDIES.get(status or 0, "Check the name and the connection")
    return ValueError(f"Nothing can be pushed to the {repo_type} {repo_id!r}: {remedy} ({error}).")
