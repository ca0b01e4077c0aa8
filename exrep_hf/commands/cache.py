"""Store what a teacher says about every view of every training image, once.

    exrep cache --config mine.yaml --teacher me/teacher --output_dir cache/mine
    exrep train --config mine.yaml --teacher_cache cache/mine

Takes the settings of the training that will use the answers, and some of its own. Interrupted and run again, it goes
on. `--push_to_hub user/name` shares the answers as a data set; in several processes it is `accelerate launch -m
exrep_hf cache …`.
"""

from collections.abc import Sequence

from exrep_hf.cli import parse_caching_settings


def main(argv: Sequence[str]) -> None:
    """Read the settings and store the answers."""
    settings = parse_caching_settings(argv, __doc__)
    # Behind `--help`, which takes a moment without them.
    from accelerate import PartialState

    from exrep_hf.study.caching import cache_teacher

    cache_teacher(settings)
    # Threads of a backend that are still there when Python ends abort the process now and then.
    PartialState().destroy_process_group()
