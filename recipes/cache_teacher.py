"""Store what a teacher says about every view of every training image, once.

    accelerate launch recipes/cache_teacher.py --config recipes/….yaml --teacher me/teacher --output_dir cache/mine
    accelerate launch recipes/train.py --config recipes/….yaml --teacher_cache cache/mine

Takes the settings of the training that will use the answers, and some of its own (see `--help`). Interrupted and
run again, it goes on. `--push_to_hub user/name` shares the answers as a data set.
"""

import sys

from exrep_hf.cli import parse_caching_settings
from exrep_hf.command_line import run_command


def main() -> None:
    """Read the settings and store the answers."""
    settings = parse_caching_settings(sys.argv[1:])
    # Behind `--help`, which takes a moment without them.
    from accelerate import PartialState

    from exrep_hf.study.caching import cache_teacher

    cache_teacher(settings)
    # Threads of a backend that are still there when Python ends abort the process now and then.
    PartialState().destroy_process_group()


if __name__ == "__main__":
    run_command(main)
