"""Evaluate a student again and compare with every figure that its card claims.

    python recipes/verify_card.py me/student
    python recipes/verify_card.py model_cards/digits

Ends with 0 only if each figure of the model-index and of `.eval_results` is reproduced within its tolerance.
"""

import argparse
import sys

from exrep_hf.publishing.evaluate_student import evaluation_device
from exrep_hf.publishing.verify import verdict_table, verify_card
from exrep_hf.report import align


def main() -> None:
    """Read the flags, verify, and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name on the Hub, or a folder")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--dataset", help="where the card's data set lies, if not on the Hub")
    parser.add_argument(
        "--other_dataset",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "PLACE"),
        help="where another one lies that figures were added for",
    )
    parser.add_argument("--data_dir", help="folder of `fashion_mnist`'s files, or inside the data set")
    parser.add_argument("--use_cpu", action="store_true", help="don't use a GPU where there is one")
    args = parser.parse_args()
    device = evaluation_device(args.use_cpu)
    places = dict(args.other_dataset)
    verdicts = verify_card(args.model, args.revision, args.dataset, places, args.data_dir, device)
    print(align(verdict_table(verdicts)))
    broken = sum(not verdict.holds for verdict in verdicts)
    print(f"{len(verdicts) - broken} of {len(verdicts)} figures reproduced")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
