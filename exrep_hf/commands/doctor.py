"""Look at a run before hours are spent on it: classes, images, gradients, length, disk, speed.

    exrep doctor --config digits
    exrep doctor --dataset images/ --teacher me/teacher --student me/student --json

Takes the settings of `exrep train`, and `--json`. Nothing is trained or written. Ends with 1 if something was found
that would waste the run.
"""

import json
import sys
from collections.abc import Sequence

from exrep_hf.cli import parse_settings


def main(argv: Sequence[str]) -> None:
    """Read the settings, look, and print what was found."""
    as_page = "--json" not in argv
    settings = parse_settings([flag for flag in argv if flag != "--json"], "digits", __doc__, "-m exrep_hf doctor")
    # Behind `--help`, which takes a moment without them.
    from accelerate import PartialState

    from exrep_hf.doctor import as_json, as_text, exit_code
    from exrep_hf.study.examination import examine_study

    findings = examine_study(settings)
    if PartialState().is_main_process:
        print(as_text(findings) if as_page else json.dumps(as_json(findings), indent=2))
    sys.exit(exit_code(findings))
