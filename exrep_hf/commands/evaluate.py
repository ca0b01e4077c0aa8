"""Evaluate a published student: top-1, top-5, calibration, classes, agreement with a teacher, speed.

    exrep evaluate me/student --dataset me/images --split test
    exrep evaluate me/student --dataset me/images --split test --push_to_hub

The data set may have fewer classes than the student, in another order: they are matched by name. `--push_to_hub` puts
the figures into the student's card, beside what others wrote there.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from exrep_hf.arguments import EvaluationArguments
from exrep_hf.cli import parse_arguments
from exrep_hf.files import write_json


def main(argv: Sequence[str]) -> None:
    """Read the flags, evaluate, and print."""
    args = parse_arguments(EvaluationArguments, argv, __doc__, positional="model")
    # Behind `--help`, which takes a moment without them.
    from exrep_hf.publishing.evaluate_student import evaluate_student, push_figures

    report = evaluate_student(args)
    if args.output is not None:
        write_json(report, Path(args.output).expanduser())
    brief = {name: value for name, value in report.items() if name not in ("bins", "per_class")}
    print(json.dumps(brief, indent=2))
    worst = sorted(report["per_class"].items(), key=lambda each: each[1]["accuracy"])[:5]
    print("worst classes:", ", ".join(f"{name} {100 * facts['accuracy']:.1f} %" for name, facts in worst))
    if args.push_to_hub:
        # Now: the figures must not be lost with a push that fails.
        print(f"pushed to {args.model}, commit {push_figures(args, report)}")
