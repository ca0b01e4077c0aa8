"""Every arm at every number of public images, for two students: how much of the missing data is recovered.

    python recipes/benchmarks/study.py                                # the whole table of recipes/fashion_mnist.yaml
    python recipes/benchmarks/study.py --sizes 500 --arms kd exrep    # a part of it

What is finished is not run again, and stays in the table: start it again after an interruption. Other sizes or
students may be run side by side, once the teacher is trained where the config asks for that. Flags that are not listed
here are settings, as in `recipes/train.py`. Writes JSON and a picture into `recipes/results/`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from exrep_hf.cli import parse_settings
from exrep_hf.command_line import run_command
from exrep_hf.data.partition import load_partition
from exrep_hf.files import write_json
from exrep_hf.report import RESULTS_NAME, plot_sizes, sizes_table
from exrep_hf.study import Study
from exrep_hf.study.folder import ARMS_NAME, RUN_NAME, TEACHER_NAME
from exrep_hf.study.stages import load_teacher, save_network, train_with_labels

RECIPES = Path(__file__).parents[1]


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Read what to run; everything else is passed on as settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, default=RECIPES / "fashion_mnist.yaml")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 500, 100], help="Numbers of public images.")
    parser.add_argument(
        "--students",
        nargs="+",
        default=[str(RECIPES / "fashion_mnist" / name) for name in ("small", "large")],
        help="Students: names or folders.",
    )
    parser.add_argument("--arms", nargs="+", help="Names of arms, where not all of the config are to be run.")
    parser.add_argument("--collect_only", action="store_true", help="Run nothing: put together what is finished.")
    parser.add_argument("--output_dir", type=Path, default=Path("out/study"), help="Where runs are kept.")
    parser.add_argument("--results_dir", type=Path, default=RECIPES / "results")
    return parser.parse_known_args(argv)


def prepare_teacher(config: Path, folder: Path, settings: list[str]) -> list[str]:
    """Train the config's teacher, once for all parts of the study, where it says so.

    Returns:
        The settings by which the parts take it.
    """
    trained = ["--teacher", str(folder), "--teacher_from_scratch", "false", "--teacher_steps", "0"]
    if folder.is_dir():
        return trained
    parsed = parse_settings(["--config", str(config), "--output_dir", str(folder.parent), *settings], config)
    if parsed.model.teacher is not None and not parsed.model.teacher_steps:
        return []
    data = load_partition(parsed.data)
    set_seed(parsed.training.seed)
    teacher = load_teacher(parsed.model, data, None)
    if teacher is None:
        raise ValueError(f"{config} names no `teacher`; every arm but `ce` and the oracle needs one.")
    train_with_labels(teacher, data.train, data, parsed.training, parsed.model, parsed.model.teacher_steps)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_network(teacher, folder)
    return trained


def run_part(args: argparse.Namespace, settings: list[str], student: str, size: int) -> dict[str, Any]:
    """Return all arms of one student at one number of public images; what is finished is only read."""
    folder = args.output_dir / f"{Path(student).name}-{size}"
    flags = ["--config", str(args.config), "--student", student, "--num_public", str(size)]
    flags += ["--output_dir", str(folder), "--resume_from_checkpoint", "true", *settings]
    parsed = parse_settings(flags, args.config)
    if args.arms:
        controls = parsed.study.controls
        assert isinstance(controls, dict)
        unknown = sorted(set(args.arms) - controls.keys() - {parsed.study.arm})
        if unknown:
            raise ValueError(f"`--arms` names {unknown}; {args.config} has {[*controls, parsed.study.arm]}.")
        finished = {path.parent.name.rpartition("-seed")[0] for path in folder.glob(f"{ARMS_NAME}/*/{RUN_NAME}")}
        wanted = finished | set(args.arms)
        parsed.study.controls = {name: changes for name, changes in controls.items() if name in wanted}
    return Study(parsed).run()


def without_histories(results: dict[str, Any]) -> dict[str, Any]:
    """Return what tables and pictures need: the curves of each run stay in its own folder."""
    for arm in results["arms"].values():
        arm["runs"] = [{key: value for key, value in run.items() if key != "history"} for run in arm["runs"]]
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts, then write and print what all finished parts say."""
    args, settings = parse(argv)
    if not args.collect_only:
        settings = settings + prepare_teacher(args.config, args.output_dir / TEACHER_NAME, settings)
        for student in args.students:
            for size in args.sizes:
                run_part(args, settings, student, size)
    collect(args)


def collect(args: argparse.Namespace) -> None:
    """Put together what all finished parts say: JSON, picture, and tables on the screen."""
    students: dict[str, dict[int, Any]] = {}
    for path in sorted(args.output_dir.glob(f"*-*/{RESULTS_NAME}")):
        name, _, size = path.parent.name.rpartition("-")
        students.setdefault(name, {})[int(size)] = without_histories(json.loads(path.read_text(encoding="utf-8")))
    students = dict(sorted(students.items(), key=lambda each: len(each[1]), reverse=True))
    target = args.results_dir / args.config.stem
    write_json(students, target.with_suffix(".json"))
    plot_sizes(students, target.with_suffix(".png"))
    for name, by_size in students.items():
        print(f"\n{name} student, as published\n\n{sizes_table(by_size)}")
    print(f"\nWritten to {target.with_suffix('.json')} and {target.with_suffix('.png')}.")


if __name__ == "__main__":
    run_command(main)
