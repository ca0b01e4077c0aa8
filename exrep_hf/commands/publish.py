"""Push a finished student to the Hub, as it lies in its folder.

    exrep publish out/digits --repo_id me/digits-student --write_card

What arrived is compared with the folder; ends non-zero where they differ.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from exrep_hf.arguments import PublishArguments
from exrep_hf.cli import parse_arguments


def main(argv: Sequence[str]) -> None:
    """Read the flags and push."""
    args = parse_arguments(PublishArguments, argv, __doc__, positional="folder")
    # Behind `--help`, which takes a moment without them.
    from exrep_hf.publishing.access import ensure_repository
    from exrep_hf.publishing.student import check_student, push_student, write_card

    folder, token = Path(args.folder), os.environ.get("HF_TOKEN")
    # Before a repository is made for it.
    check_student(folder)
    repo_id = ensure_repository(args.repo_id, "model", args.private or None, token)
    if args.write_card:
        write_card(folder, repo_id)
    commit = push_student(folder, repo_id, args.private or None, token)
    print(f"pushed {folder} to {repo_id}, commit {commit}")
