"""Train a student under a teacher, with its controls, and write what `from_pretrained` loads.

    exrep train --config digits
    exrep train --dataset images/ --teacher me/teacher --student me/student --output_dir out
    accelerate launch -m exrep_hf train --config kd --dataset images/ --teacher me/teacher --student me/student

Settings come from a preset (`exrep`, our default, `kd`, `kd-mixed`, `crd`, `exrep-paper`) or a YAML file, and from
flags; flags win.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from exrep_hf.cli import parse_settings


def main(argv: Sequence[str]) -> None:
    """Read the settings and run the study."""
    program = "recipes/train.py" if Path(sys.argv[0]).name == "train.py" else "-m exrep_hf train"
    settings = parse_settings(argv, "digits", __doc__, program)
    # Behind `--help`, which takes a moment without them.
    from accelerate import PartialState

    from exrep_hf.study import Study

    Study(settings).run()
    # Threads of a backend that are still there when Python ends abort the process now and then.
    PartialState().destroy_process_group()
