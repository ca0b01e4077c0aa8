"""The benchmarks of speed, and their table: what, figure, target, verdict.

    python recipes/benchmarks/speed.py                    # `make bench`: on CPU cores
    python recipes/benchmarks/speed.py --only start_up    # how long imports take: seven minutes
    python recipes/benchmarks/speed.py --device cuda      # the rows of a GPU
    python recipes/benchmarks/speed.py --collect_only     # the table of what was measured before

Each runs in a process of its own, on one thread, and writes its rows into `recipes/results/speed/`. On CPUs two run
side by side, which a ratio of things that are timed in turns bears (`--jobs 1`: one after the other).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from paired import RESULTS, table

from exrep_hf.command_line import run_command

BENCHMARKS = ("step", "crd", "data_path", "stored_answers", "distiller", "evaluation", "start_up", "start")
QUICK = tuple(name for name in BENCHMARKS if name != "start_up")
"""What is run where nothing is named: a pair of starts of Python with all its imports takes a quarter of a minute."""
OF_CPUS_ALONE = ("data_path", "start_up", "start")
"""What a GPU has no part in."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    flags.add_argument("--only", nargs="+", choices=BENCHMARKS, help="Some of them; all but start_up where not given.")
    flags.add_argument("--smoke", action="store_true", help="Sizes of a toy: to see that they run.")
    flags.add_argument("--jobs", type=int, default=2, help="Benchmarks that run side by side on CPUs.")
    flags.add_argument("--collect_only", action="store_true", help="Run nothing.")
    flags.add_argument("--results_dir", type=Path, default=RESULTS, help="Where the rows are kept.")
    args = flags.parse_args(argv)
    wanted = args.only or (BENCHMARKS if args.collect_only else QUICK)
    names = [name for name in wanted if args.device == "cpu" or name not in OF_CPUS_ALONE]
    outputs = {name: args.results_dir / f"{name}-{args.device}.json" for name in names}
    if not args.collect_only:
        with ThreadPoolExecutor(args.jobs if args.device == "cpu" else 1) as pool:
            list(pool.map(lambda name: run(name, outputs[name], args), names))
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in outputs.values() if path.is_file()]
    rows: list[dict[str, Any]] = [row for content in contents for row in content["rows"]]
    devices = {content["device"] for content in contents}
    rows.sort(key=lambda row: row["number"])
    print(f"\n{', '.join(sorted(devices))}\n\n{table(rows)}")


def run(name: str, output: Path, args: argparse.Namespace) -> None:
    """Run a benchmark, whose own lines are shown where it fails."""
    flags = ["--device", args.device, "--output", str(output), *["--smoke", "--pairs", "2"] * args.smoke]
    # On one thread a figure does not depend on how many cores are free.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    script = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([sys.executable, str(script), *flags], env=environment, capture_output=True, text=True)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        raise ValueError(f"{script.name} ended with {done.returncode}; its last lines:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    run_command(main)
