"""Make a page to look at of a run, or of several side by side, from their `results.json`.

    exrep report out/digits
    exrep report out/500 out/1000 out/2000 --output sizes.html
    exrep report out/digits --with_images

One HTML file that needs no network: the verdict, all arms, curves, calibration, mistakes, costs and settings. Each run
writes its own as `report.html`. With `--with_images` test images about which teacher and student disagree are part of
it: such a page is for yourself, and a file of another name, `images.html`.
"""

from collections.abc import Sequence
from pathlib import Path

from exrep_hf.arguments.class_rule import read_class_rule
from exrep_hf.arguments.reporting import ReportArguments
from exrep_hf.cli import parse_arguments

IMAGES_NAME = "images.html"


def main(argv: Sequence[str]) -> None:
    """Read the flags, write the page, and print where it is.

    Raises:
        ValueError: if a folder holds no results of a run.
    """
    args = parse_arguments(ReportArguments, argv, __doc__, positional="runs")
    # Behind `--help`, which takes a moment without them.
    from exrep_hf.publishing.texts import read_results
    from exrep_hf.report import RESULTS_NAME
    from exrep_hf.report.page import PAGE_NAME, write_page

    places = [Path(name).expanduser() for name in args.runs]
    for place in places:
        if not (place / RESULTS_NAME).is_file():
            raise ValueError(f"{str(place)!r} has no {RESULTS_NAME}. Give the `output_dir` of a finished run.")
    last = [place.resolve().name for place in places]
    # Two `digits` of different folders are told apart by their paths.
    names = last if len(set(last)) == len(last) else [str(place) for place in places]
    usual = IMAGES_NAME if args.with_images else PAGE_NAME
    output = Path(args.output).expanduser() if args.output else places[0] / usual
    shown = {}
    if args.with_images:
        from exrep_hf.publishing.disagreements import find_disagreements
        from exrep_hf.publishing.evaluate_student import evaluation_device

        asked = (args.teacher, args.dataset, args.data_dir, evaluation_device(args.use_cpu))
        rule = read_class_rule(args.classes)
        shown = {name: find_disagreements(place, *asked, rule=rule) for name, place in zip(names, places, strict=True)}
    write_page({name: read_results(place) for name, place in zip(names, places, strict=True)}, output, shown)
    print(output)
