"""What trackers call the runs of a study."""

from exrep_hf.arguments import DistillationArguments


def run_name(args: DistillationArguments, part: str) -> str:
    """Return what a part of a study is called in trackers: under the name of the study, so that they stand together.

    Args:
        args: with the name of the study as `run_name`.
        part: an arm and a seed, or a stage.
    """
    return "/".join(filter(None, [args.run_name, part]))
