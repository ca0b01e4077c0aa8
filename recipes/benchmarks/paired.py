"""Two things timed in turns: a ratio with its interval, and whether it meets a target.

On a machine that others use too an absolute time says little: it may double from one minute to the next. Both things
run within a moment of each other, as often as the interval needs, and the order changes with every pair.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from scipy.stats import binom

from exrep_hf.files import write_json
from exrep_hf.report import software_versions

RESULTS = Path(__file__).parents[1] / "results" / "speed"

LEAST_PAIRS = 30
"""Fewer pairs give no verdict."""


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of some pairs, with its 95 % interval.

    Attributes:
        value: the median.
        low: lower end of the interval, by order statistics (no distribution is assumed).
        high: upper end.
        pairs: how many pairs there were.
    """

    value: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Ratio":
        """Summarise the ratios of some pairs."""
        ordered = sorted(ratios)
        rank = _rank_of_interval(len(ordered))
        return cls(statistics.median(ordered), ordered[rank], ordered[len(ordered) - 1 - rank], len(ordered))

    def inverse(self) -> "Ratio":
        """Return the other thing over the one: a ratio of times as one of speeds."""
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low, self.pairs)


@dataclass(frozen=True)
class Row:
    """A line of the table of speeds.

    Attributes:
        number: of the row in the table, such as `4`.
        what: what is compared with what, in a few words.
        ratio: what was measured; a `float` where it is no ratio of times (of memory, say), and None where it was not.
        target: what it should be.
        better: whether a smaller or a larger figure is better.
        note: what else a reader has to know.
    """

    number: int
    what: str
    ratio: Ratio | float | None
    target: float
    better: Literal["smaller", "larger"] = "smaller"
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met` or `missed` where the whole interval is on one side of the target, else `unclear`."""
        if self.ratio is None:
            return "not measured"
        if isinstance(self.ratio, Ratio):
            if self.ratio.pairs < LEAST_PAIRS:
                return "unclear"
            low, high = self.ratio.low, self.ratio.high
        else:
            low = high = self.ratio
        good, bad = high <= self.target, low > self.target
        if self.better == "larger":
            good, bad = low >= self.target, high < self.target
        return "met" if good else "missed" if bad else "unclear"

    def as_dict(self) -> dict[str, Any]:
        """Return what is written of it."""
        return {**asdict(self), "verdict": self.verdict}


def times_in_turns(
    first: Callable[[], object], second: Callable[[], object], pairs: int = LEAST_PAIRS, warm_up: int = 3
) -> list[tuple[float, float]]:
    """Run two things in turns.

    Args:
        first: runs one of them once; long enough to be timed (a millisecond or more).
        second: the other.
        pairs: how often both are timed.
        warm_up: how often both are run before.

    Returns:
        The seconds that both took, for each pair.
    """
    for _ in range(warm_up):
        first()
        second()
    collects = gc.isenabled()
    # A collection in the middle of one of them would be counted to it alone.
    gc.collect()
    gc.disable()
    try:
        taken = []
        for pair in range(pairs):
            one, other = (first, second) if pair % 2 == 0 else (second, first)
            earlier, later = seconds_of(one), seconds_of(other)
            taken.append((earlier, later) if pair % 2 == 0 else (later, earlier))
        return taken
    finally:
        if collects:
            gc.enable()


def compare(
    first: Callable[[], object], second: Callable[[], object], pairs: int = LEAST_PAIRS, warm_up: int = 3
) -> Ratio:
    """Return the first thing's time over the second's."""
    return Ratio.of([one / other for one, other in times_in_turns(first, second, pairs, warm_up)])


def seconds_of(run: Callable[[], object]) -> float:
    """Return how long it takes, on the device too."""
    _wait()
    began = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - began


def measured_on(device: str) -> str:
    """Return what figures are for, in words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return what all benchmarks understand: `--device`, `--pairs`, `--smoke`, `--output`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--pairs", type=int, default=LEAST_PAIRS, help="Pairs that are timed.")
    made.add_argument("--smoke", action="store_true", help="Sizes of a toy: to see that it runs. Writes no result.")
    made.add_argument("--output", type=Path, help="JSON file; in recipes/results/speed where not given.")
    return made


def report(rows: Sequence[Row], name: str, args: argparse.Namespace, more: Mapping[str, Any] | None = None) -> None:
    """Print the rows of a benchmark, and write them.

    Args:
        rows: what was measured.
        name: of the benchmark.
        args: what `parser` gave.
        more: what else was measured, of JSON types.
    """
    print(table([row.as_dict() for row in rows]))
    output = args.output or RESULTS / f"{name}-{args.device}.json"
    if args.smoke and args.output is None:
        return
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    content = {
        "device": measured_on(args.device),
        "settings": settings,
        "rows": [row.as_dict() for row in rows],
        **(more or {}),
        "versions": software_versions(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(content, output)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a table in Markdown: what, figure, target, verdict."""
    lines = ["| # | what | figure (95 % interval) | target | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "≤" if row["better"] == "smaller" else "≥"
        note = f" ({row['note']})" if row["note"] else ""
        figure = _in_words(row["ratio"])
        lines.append(
            f"| {row['number']} | {row['what']}{note} | {figure} | {sign} {row['target']} | {row['verdict']} |"
        )
    return "\n".join(lines)


def _in_words(ratio: dict[str, Any] | float | None) -> str:
    if ratio is None:
        return "–"
    if isinstance(ratio, dict):
        return f"{ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
    return f"{ratio:.3g}"


def _rank_of_interval(count: int) -> int:
    """Return the place, from 0 on, of the value that bounds the median's 95 % interval from below."""
    # The number of values below the median is binomial.
    return max(0, int(binom.ppf(0.025, count, 0.5)) - 1)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
