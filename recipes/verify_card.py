"""Evaluate a student again and compare with every figure that its card claims.

    python recipes/verify_card.py me/student
    python recipes/verify_card.py model_cards/digits

Ends with 0 only if each figure of the model-index, of `.eval_results` and of `results.json` is reproduced within its
tolerance, and the card's text says what `results.json` says.
"""

import sys

from exrep_hf.arguments import VerificationArguments
from exrep_hf.cli import parse_arguments
from exrep_hf.command_line import run_command
from exrep_hf.publishing.card_body import body_report
from exrep_hf.publishing.evaluate_student import evaluation_device
from exrep_hf.publishing.verify import verdict_table, verify_body, verify_card
from exrep_hf.report import align


def main() -> None:
    """Read the flags, verify, and print the verdicts."""
    args = parse_arguments(VerificationArguments, sys.argv[1:], __doc__, positional="model")
    device = evaluation_device(args.use_cpu)
    verdicts = verify_card(args.model, args.revision, args.dataset, args.places, args.data_dir, device)
    findings = verify_body(args.model, args.revision)
    print(align(verdict_table(verdicts)))
    broken = sum(not verdict.holds for verdict in verdicts)
    print(f"{len(verdicts) - broken} of {len(verdicts)} figures reproduced\n")
    print(body_report(findings))
    sys.exit(1 if broken or any(finding.contradicts for finding in findings) else 0)


if __name__ == "__main__":
    run_command(main)
