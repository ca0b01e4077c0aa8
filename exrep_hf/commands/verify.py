"""Evaluate a student again and compare with every figure that its card claims.

    exrep verify me/student
    exrep verify model_cards/digits

Ends with 0 only if each figure of the model-index and of `.eval_results` is reproduced within its tolerance, and the
card's text gives the figures of `results.json`.
"""

import sys
from collections.abc import Sequence

from exrep_hf.arguments import VerificationArguments
from exrep_hf.cli import parse_arguments


def main(argv: Sequence[str]) -> None:
    """Read the flags, verify, and print the verdicts."""
    args = parse_arguments(VerificationArguments, argv, __doc__, positional="model")
    # Behind `--help`, which takes a moment without them.
    from exrep_hf.publishing.evaluate_student import evaluation_device
    from exrep_hf.publishing.verify import card_notes, verdict_table, verify_card
    from exrep_hf.report import align

    device = evaluation_device(args.use_cpu)
    verdicts = verify_card(args.model, args.revision, args.dataset, args.places, args.data_dir, device)
    print(align(verdict_table(verdicts)))
    for note in card_notes(args.model, args.revision):
        print(f"README.md: {note}")
    broken = sum(not verdict.holds for verdict in verdicts)
    print(f"{len(verdicts) - broken} of {len(verdicts)} figures reproduced")
    sys.exit(1 if broken else 0)
