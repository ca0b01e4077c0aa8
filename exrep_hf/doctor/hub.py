"""Whether what is to be pushed can be."""

from collections.abc import Iterator

from exrep_hf.doctor.finding import Finding
from exrep_hf.publishing.access import check_can_push


def check_hub(repo_id: str, private: bool | None, token: str | None) -> Iterator[Finding]:
    """Ask the Hub whether the token may write to a repository, or make it; nothing is made.

    Args:
        repo_id: `user/name`, or a bare name.
        private: whether the repository is to be private.
        token: the user's; None: the one that is logged in.
    """
    try:
        yield Finding("fine", f"the student can be pushed to {check_can_push(repo_id, 'model', private, token)}")
    except ValueError as error:
        yield Finding("waste", str(error), "Or leave `--push_to_hub` out, and `exrep publish` afterwards.")
