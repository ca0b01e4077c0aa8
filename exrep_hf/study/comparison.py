"""What the records of several arms say side by side: shares of gaps, the oracle they are of, differences by seed."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean
from typing import Any

from exrep_hf.evaluation import data_gap_recovered, gap_recovered, mean_and_deviation, paired_difference
from exrep_hf.report.sizes import CALIBRATION

Record = dict[str, Any]
Records = Mapping[str, Sequence[Record]]


def best_oracle(oracles: Sequence[str], records: Records) -> str | None:
    """Return which oracle reaches most, on the mean over the seeds that all have: the data gap is to that one.

    One that was not run yet has no part in it.

    Args:
        oracles: names of the arms that saw the private images.
        records: of all arms by name, one a seed.

    Returns:
        Its name; None where there is none, or they have no seed in common.
    """
    reached = {name: {run["seed"]: run["after"]["accuracy"] for run in records.get(name, ())} for name in oracles}
    reached = {name: by_seed for name, by_seed in reached.items() if by_seed}
    common = set.intersection(*(set(by_seed) for by_seed in reached.values())) if reached else set()
    means = {name: mean(by_seed[seed] for seed in common) for name, by_seed in reached.items() if common}
    return max(means, key=lambda name: means[name], default=None)


def add_gaps(records: Records, oracle: str | None) -> None:
    """Put into each record what its run recovered of the gaps to the teacher and to the oracle of its seed."""
    reached = {} if oracle is None else {run["seed"]: run["after"]["accuracy"] for run in records[oracle]}
    for run in (run for runs in records.values() for run in runs):
        before, teacher, most = run["before"]["accuracy"], run["teacher"], reached.get(run["seed"])
        for outcome in filter(None, (run, run["without_distiller"])):
            after = outcome["after"]["accuracy"]
            outcome["gap_recovered"] = teacher and gap_recovered(before, after, teacher["accuracy"])
            outcome["data_gap_recovered"] = most and data_gap_recovered(before, after, most)


def summarise_oracle(oracle: str | None, records: Records) -> Record | None:
    """Return the oracle's name, and how far (in shares of all images) it is above the starting students."""
    if oracle is None:
        return None
    gaps = [run["after"]["accuracy"] - run["before"]["accuracy"] for run in records[oracle]]
    return {"arm": oracle, "gap": mean_and_deviation(gaps)}


def as_published(run: Record, is_plain: bool) -> Record:
    """Return what a run reaches as it would be published: without a distiller where it learnt to do without."""
    return (run["without_distiller"] if is_plain else None) or run


def differences(method: str, records: Records, plain: Collection[str]) -> dict[str, dict[str, float | None]]:
    """Return how far the method is above each other arm, seed by seed, both as they would be published.

    Args:
        method: its name.
        records: of all arms by name, one a seed.
        plain: arms that are published without a distiller.

    Returns:
        By name, mean and 95 % interval in shares of all images, of the seeds that both were run with; see
        `paired_difference`.
    """
    figures = {
        name: {run["seed"]: as_published(run, name in plain)["after"]["accuracy"] for run in runs}
        for name, runs in records.items()
    }
    own, found = figures.pop(method, {}), {}
    for name, theirs in figures.items():
        if common := sorted(own.keys() & theirs.keys()):
            found[name] = paired_difference([own[seed] for seed in common], [theirs[seed] for seed in common])
    return found


def compare_arms(records: Records, method: str, oracles: Sequence[str], plain: Collection[str]) -> Record:
    """Return what a column of a table over several studies holds, also where some runs are not there yet.

    Args:
        records: of the arms by name, one a seed.
        method: the arm that the others are compared with.
        oracles: arms that saw the private images.
        plain: arms that are published without a distiller.

    Returns:
        `before` and `teacher` (top-1), `oracle` (as of `summarise_oracle`) and `arms`: by name its seeds,
        top-1, its calibration error where all its runs have one, the data gap recovered, and how far the method is
        above it.
    """
    oracle = best_oracle(oracles, records)
    add_gaps(records, oracle)
    above = differences(method, records, plain)
    arms = {}
    for name, runs in records.items():
        outcomes = [as_published(run, name in plain) for run in runs]
        shares = [outcome["data_gap_recovered"] for outcome in outcomes if outcome["data_gap_recovered"] is not None]
        arms[name] = {
            "seeds": [run["seed"] for run in runs],
            "accuracy": mean_and_deviation([outcome["after"]["accuracy"] for outcome in outcomes]),
            CALIBRATION: mean_and_deviation([outcome["after"].get(CALIBRATION) for outcome in outcomes]),
            "data_gap_recovered": mean_and_deviation(shares),
            "method_above": above.get(name),
        }
    every = {run["seed"]: run for runs in records.values() for run in runs}.values()
    return {
        "before": mean_and_deviation([run["before"]["accuracy"] for run in every]),
        "teacher": mean_and_deviation([run["teacher"] and run["teacher"]["accuracy"] for run in every]),
        "method": method,
        "oracle": summarise_oracle(oracle, records),
        "arms": arms,
    }
