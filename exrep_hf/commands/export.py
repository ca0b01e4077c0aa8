"""Export a student: to ONNX, which runs without Python's ML stack, or by `torch.export`.

    exrep export out/digits --check
    exrep export out/digits --format onnx --quantize int8 --overwrite
    exrep export me/student --format torch --output_dir exported

`preprocessing.json` beside it says, step by step, how images get in and what the classes are called. `--check` ends
with 1 if the file answers otherwise than the student.
"""

import json
import sys
from collections.abc import Sequence

from exrep_hf.arguments import ExportArguments
from exrep_hf.cli import parse_arguments


def main(argv: Sequence[str]) -> None:
    """Read the flags, export, and print what was written and measured."""
    args = parse_arguments(ExportArguments, argv, __doc__, positional="model")
    # Behind `--help`, which takes a moment without it.
    from exrep_hf.publishing.export import INT8_NAME, export_student

    report = export_student(args)
    print(json.dumps(report, indent=2))
    if INT8_NAME in report:
        lost = 100 * (report["student"]["accuracy"] - report[INT8_NAME]["accuracy"])
        if lost > 1:
            told = f"{INT8_NAME} loses {lost:.1f} points of top-1: use the float file, which is beside it."
            print(told, file=sys.stderr)
    if not report.get("holds", True):
        print("The export answers otherwise than the student: don't use it.", file=sys.stderr)
        sys.exit(1)
