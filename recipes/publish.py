"""Push a finished student to the Hub, as it lies in its folder.

    python recipes/publish.py out/digits --repo_id me/digits-student --write_card

What arrived is compared with the folder; ends non-zero where they differ.
"""

import os
import sys
from pathlib import Path

from exrep_hf.arguments import PublishArguments
from exrep_hf.cli import parse_arguments
from exrep_hf.command_line import run_command
from exrep_hf.publishing.access import ensure_repository
from exrep_hf.publishing.student import check_student, push_student, write_card


def main() -> None:
    """Read the flags and push."""
    args = parse_arguments(PublishArguments, sys.argv[1:], __doc__, positional="folder")
    folder, token = Path(args.folder), os.environ.get("HF_TOKEN")
    # Before a repository is made for it.
    check_student(folder)
    repo_id = ensure_repository(args.repo_id, "model", args.private or None, token)
    if args.write_card:
        write_card(folder, repo_id)
    commit = push_student(folder, repo_id, args.private or None, token)
    print(f"pushed {folder} to {repo_id}, commit {commit}")


if __name__ == "__main__":
    run_command(main)
