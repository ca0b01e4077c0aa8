"""How a step grows with what a user can make larger, as one picture.

    python recipes/benchmarks/crd.py --growth     # first: images, negatives and batch of the contrastive term
    python recipes/benchmarks/growth.py           # classes, image size, and the picture

Times are those of a CPU, in seconds of its own, the least of some steps. A dashed line is linear growth from the first
point; what lies above it grows faster. Writes `growth-cpu.json` and `growth.png` into `recipes/results/speed/`.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from paired import RESULTS, measured_on
from step import Bench

from exrep_hf.command_line import run_command
from exrep_hf.files import write_json
from exrep_hf.report import software_versions

CLASSES = (10, 100, 1000, 21_843)
SIZES = (32, 64, 128, 256)
TITLES = {
    "rows": "images in the bank",
    "negatives": "negatives an image",
    "batch": "images a step",
    "classes": "classes",
    "pixels": "pixels an image",
}


def least_seconds(step: Callable[[], None], steps: int) -> float:
    """Return the CPU seconds of the fastest of some steps."""
    step()
    taken = []
    for _ in range(steps):
        began = time.process_time()
        step()
        taken.append(time.process_time() - began)
    return min(taken)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a point for each number of classes and each image size: a step of the preset `exrep`."""
    points: list[dict[str, Any]] = []
    name = "resnet18" if not args.smoke else "test_resnet"
    cases = [("classes", classes, Bench(name, 32, 16, "cpu", 10_000, args.folder, classes)) for classes in CLASSES]
    cases += [("pixels", size**2, Bench(name, size, 16, "cpu", 10_000, args.folder)) for size in SIZES]
    for grown, size, bench in cases:
        turns = bench.ours()
        points.append({"way": "step", "grown": grown, grown: size, "seconds": least_seconds(turns.step, args.steps)})
        turns.stop()
        print(points[-1], flush=True)
    return points


def exponent(points: Sequence[dict[str, Any]], grown: str) -> float:
    """Return by which power the time grows between the last two points."""
    before, last = points[-2], points[-1]
    return math.log(last["seconds"] / before["seconds"]) / math.log(last[grown] / before[grown])


def draw(points: Sequence[dict[str, Any]], path: Path) -> dict[str, dict[str, float]]:
    """Draw all points, a panel for what is grown, a line a way.

    Returns:
        The last exponent of each line.
    """
    panels = [grown for grown in TITLES if any(point["grown"] == grown for point in points)]
    figure = Figure(figsize=(3.6 * len(panels), 3.6), layout="constrained")
    exponents: dict[str, dict[str, float]] = {}
    colours = {way: f"C{place}" for place, way in enumerate(dict.fromkeys(point["way"] for point in points))}
    for place, grown in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for way, colour in colours.items():
            line = [point for point in points if (point["grown"], point["way"]) == (grown, way)]
            if len(line) < 2:
                continue
            line.sort(key=lambda point: point[grown])
            exponents.setdefault(grown, {})[way] = round(exponent(line, grown), 2)
            sizes, seconds = ([point[key] for point in line] for key in (grown, "seconds"))
            axes.plot(sizes, seconds, "o-", color=colour, label=f"{way} (last: power {exponents[grown][way]})")
            linear = [seconds[0], seconds[0] * sizes[-1] / sizes[0]]
            axes.plot([sizes[0], sizes[-1]], linear, "--", color=colour, alpha=0.3)
        axes.set(xscale="log", yscale="log", xlabel=TITLES[grown], ylabel="seconds a step" if place == 0 else "")
        axes.set_ylim(*_limits([point["seconds"] for point in points if point["grown"] == grown]))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    return exponents


def _limits(seconds: Sequence[float]) -> tuple[float, float]:
    # Linear growth leaves the panel where the line itself hardly grows.
    return min(seconds) / 2, max(seconds) * 4


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, draw, and write."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--steps", type=int, default=5)
    flags.add_argument("--smoke", action="store_true", help="Sizes of a toy: to see that it runs.")
    flags.add_argument("--results_dir", type=Path, default=RESULTS)
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as args.folder:
        points = measure(args)
    args.results_dir.mkdir(parents=True, exist_ok=True)
    contrast = args.results_dir / "crd-growth-cpu.json"
    if contrast.is_file():
        points = [*json.loads(contrast.read_text(encoding="utf-8"))["points"], *points]
    exponents = draw(points, args.results_dir / "growth.png")
    content = {"device": measured_on("cpu"), "points": points, "last_exponents": exponents}
    write_json({**content, "versions": software_versions()}, args.results_dir / "growth-cpu.json")
    print(json.dumps(exponents, indent=2))


if __name__ == "__main__":
    run_command(main)
