"""Every arm at several numbers of public images and of steps: how much of the missing data is made good.

    python recipes/benchmarks/study.py                                       # the small student of the table
    python recipes/benchmarks/study.py --sizes 100 --arms kd-mixed exrep     # a part of it
    python recipes/benchmarks/study.py --collect_only                        # the table of what was run

A finished run leaves a record in `recipes/results/runs/` and is not run again; what was not run yet is a dash. Runs go
side by side (`--jobs`), in the order of sizes, steps, seeds and arms. Flags that are not listed here are settings, as
in `recipes/train.py`; on a CPU with bfloat16 instructions add `--use_cpu --bf16`. Writes JSON and a picture into
`recipes/results/`.
"""

import argparse
import itertools
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from runs import Part, prepare_start, read_records, record_path, run_arms, start_folder

from exrep_hf.command_line import run_command
from exrep_hf.files import write_json
from exrep_hf.main_process import cores_of_process
from exrep_hf.report import calibration_table, plot_sizes, sizes_table, without_places
from exrep_hf.study.comparison import compare_arms

RECIPES = Path(__file__).parents[1]
ARMS_A_PROCESS = 3
"""Few, so that two processes end at about the same time; a process takes some ten seconds to start."""


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Read what to run; everything else is passed on as settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, default=RECIPES / "fashion_mnist.yaml")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 20, 2000], help="Numbers of public images.")
    parser.add_argument("--steps", type=int, nargs="+", default=[1500, 6000], help="Numbers of steps.")
    parser.add_argument(
        "--students",
        nargs="+",
        default=[str(RECIPES / "fashion_mnist" / "small")],
        help="Students: names or folders.",
    )
    parser.add_argument("--arms", nargs="+", help="Names of arms, where not all of the config are to be run.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs side by side, each on its part of the cores.")
    parser.add_argument("--collect_only", action="store_true", help="Run nothing: put together what is finished.")
    parser.add_argument("--output_dir", type=Path, default=Path("out/study"), help="Where starting students are kept.")
    parser.add_argument("--results_dir", type=Path, default=RECIPES / "results")
    return parser.parse_known_args(argv)


def parts(args: argparse.Namespace, settings: Sequence[str]) -> list[Part]:
    """Return the columns of the table that are asked for."""
    return [
        Part(args.config, student, size, steps, tuple(settings))
        for student in args.students
        for size in args.sizes
        for steps in args.steps
    ]


def runs_to_do(args: argparse.Namespace, settings: Sequence[str]) -> list[tuple[Part, int, str]]:
    """Return part, seed and arm of each run that has no record yet.

    Raises:
        ValueError: for arms that the config hasn't, or a record of a run with other settings.
    """
    todo = []
    for part in parts(args, settings):
        parsed = part.settings(args.output_dir)
        arms, seeds = part.arms(parsed), part.seeds(parsed)
        names = [arm.name for arm in arms]
        if unknown := sorted(set(args.arms or ()) - set(names)):
            raise ValueError(f"`--arms` names {unknown}; {args.config} has {names}.")
        read_records(records_of(args), part, arms, seeds)
        todo += [
            (part, seed, name)
            for seed in seeds
            for name in (args.arms or names)
            if not record_path(records_of(args), part, name, seed).is_file()
        ]
    return todo


def records_of(args: argparse.Namespace) -> Path:
    """Return where the records of a config's runs lie."""
    return Path(args.results_dir) / "runs" / str(args.config.stem)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts, then write and print what all finished runs say."""
    args, settings = parse(argv)
    if not args.collect_only:
        todo = runs_to_do(args, settings)
        starts = {start_folder(part, seed, args.output_dir): (part, seed) for part, seed, _ in todo}
        side_by_side(args.jobs, {at.name: (prepare_start, (*of, args.output_dir)) for at, of in starts.items()})
        runs = {}
        for (part, seed), group in itertools.groupby(todo, key=lambda run: run[:2]):
            arms = [name for _, _, name in group]
            for first in range(0, len(arms), ARMS_A_PROCESS):
                names = arms[first : first + ARMS_A_PROCESS]
                title = f"{part.name}, seed {seed}, {' '.join(names)}"
                runs[title] = (run_arms, (part, names, seed, args.output_dir, records_of(args)))
        side_by_side(args.jobs, runs)
    collect(args, settings)


def side_by_side(jobs: int, calls: dict[str, tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    """Call functions in processes of their own, several at once, and say when each has ended.

    Raises:
        RuntimeError: if some of them failed, naming them, when all others have ended.
    """
    before = signal.signal(signal.SIGTERM, end_children)
    context = multiprocessing.get_context("spawn")
    # PyTorch's own number is what `OMP_NUM_THREADS` says: more threads than free cores wait for each other.
    threads = max(1, min(torch.get_num_threads(), cores_of_process() // jobs))
    failed = []

    def call(name: str) -> None:
        function, given = calls[name]
        process = context.Process(target=on_threads, args=(threads, function, given))
        process.start()
        process.join()
        if process.exitcode:
            failed.append(f"{name} (status {process.exitcode})")
        else:
            print(f"{name}: done", flush=True)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(call, calls))
    finally:
        signal.signal(signal.SIGTERM, before)
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(calls)} failed: {'; '.join(failed)}; what they said stands above.")


def end_children(number: int, frame: FrameType | None) -> None:
    """End the runs with the command."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(128 + number)


def on_threads(threads: int, function: Callable[..., None], given: tuple[Any, ...]) -> None:
    """Call a function on a number of threads."""
    torch.set_num_threads(threads)
    function(*given)


def collect(args: argparse.Namespace, settings: Sequence[str]) -> None:
    """Put together what all finished runs say: JSON, picture, and tables on the screen."""
    columns: list[dict[str, Any]] = []
    for folder in sorted(records_of(args).glob("*-*-*")):
        student, size, steps = folder.name.rsplit("-", 2)
        given = next((each for each in args.students if Path(each).name == student), None)
        part = Part(
            args.config, given or str(args.config.with_suffix("") / student), int(size), int(steps), tuple(settings)
        )
        parsed = part.settings(args.output_dir)
        arms = part.arms(parsed)
        records = read_records(records_of(args), part, arms, part.seeds(parsed))
        oracles, plain = [arm.name for arm in arms if arm.is_oracle], [arm.name for arm in arms if arm.is_plain]
        compared = compare_arms(records, arms[-1].name, oracles, plain)
        for arm in arms:
            if arm.name in compared["arms"]:
                compared["arms"][arm.name]["changes"] = without_places(arm.changes)
        columns.append({"student": student, "size": part.size, "steps": part.steps} | compared)
    target = args.results_dir / args.config.stem
    write_json({"columns": columns}, target.with_suffix(".json"))
    picture = f" and {target.with_suffix('.png')}" if plot_sizes(columns, target.with_suffix(".png")) else ""
    tables = "\n\n".join(filter(None, (sizes_table(columns), calibration_table(columns))))
    print(f"\n{tables}\n\nWritten to {target.with_suffix('.json')}{picture}.")


if __name__ == "__main__":
    run_command(main)
