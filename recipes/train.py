"""Train a student under a teacher, with its controls, and write what `from_pretrained` loads.

    accelerate launch recipes/train.py --config recipes/digits.yaml
    accelerate launch recipes/train.py --dataset images/ --teacher me/teacher --student me/student --output_dir out
    accelerate launch recipes/train.py --config kd --dataset images/ --teacher me/teacher --student me/student

Settings come from a preset (`exrep`, our default, `kd`, `crd`, `exrep-paper`) or a YAML file, and from flags; flags
win. `--help` explains each of them.
"""

import sys
from pathlib import Path

from exrep_hf.cli import parse_settings
from exrep_hf.command_line import run_command


def main() -> None:
    """Read the settings and run the study."""
    settings = parse_settings(sys.argv[1:], Path(__file__).with_name("digits.yaml"))
    # Behind `--help`, which takes a moment without them.
    from accelerate import PartialState

    from exrep_hf.study import Study

    Study(settings).run()
    # Threads of a backend that are still there when Python ends abort the process now and then.
    PartialState().destroy_process_group()


if __name__ == "__main__":
    run_command(main)
