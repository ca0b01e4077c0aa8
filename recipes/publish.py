"""Push a finished student to the Hub, as it lies in its folder.

    python recipes/publish.py out/digits --repo_id me/digits-student --write_card

What arrived is compared with the folder; ends non-zero where they differ.
"""

import argparse
import os
from pathlib import Path

from exrep_hf.publishing.access import ensure_repository
from exrep_hf.publishing.student import push_student, student_files, write_card


def main() -> None:
    """Read the flags and push."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="`output_dir` of a finished run, or a folder of model_cards/")
    parser.add_argument("--repo_id", required=True, help="user/name")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument(
        "--write_card",
        action="store_true",
        help="first write the card anew from results.json, with the name `repo_id`",
    )
    args = parser.parse_args()
    token = os.environ.get("HF_TOKEN")
    student_files(args.folder)
    repo_id = ensure_repository(args.repo_id, "model", args.private, token)
    if args.write_card:
        write_card(args.folder, repo_id)
    commit = push_student(args.folder, repo_id, args.private, token)
    print(f"pushed {args.folder} to {repo_id}, commit {commit}")


if __name__ == "__main__":
    main()
