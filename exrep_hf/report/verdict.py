"""Did the method beat its controls? In a sentence."""

from collections.abc import Mapping
from typing import Any


def verdict(results: Mapping[str, Any]) -> str:
    """Return whether the method beat its controls, paired by seed, and by how much.

    A control is beaten where the 95 % interval of the difference is above 0. Arms that saw the private images are no
    controls; how much of their gain is recovered is said beside.

    Args:
        results: the content of `results.json`.

    Returns:
        One or two sentences; names of arms stand between backticks.
    """
    method, seeds = results["published"]["arm"], len(results["seeds"])
    above = dict(results.get("differences") or {})
    oracle = results.get("oracle")
    oracles = {name for name in above if is_oracle(name, results)}
    controls = {name: above[name] for name in above if name not in oracles}
    reached = f"`{method}` reached {100 * results['arms'][method]['accuracy']['mean']:.1f} % top-1"
    if not controls:
        others = any(name != method and not is_oracle(name, results) for name in results["arms"])
        missing = "its differences by seed were not recorded" if others else "no controls were run"
        return f"{reached}; {missing}, so nothing says what its own share in that is."
    strongest = min(controls, key=lambda name: controls[name]["mean"])
    sentence = _against(method, strongest, controls, seeds)
    share = results["arms"][method].get("data_gap_recovered")
    if oracle is None or share is None:
        return sentence
    return f"{sentence} It recovered {share['mean']:.0f} % of what the private images are worth (`{oracle['arm']}`)."


def _against(method: str, strongest: str, controls: Mapping[str, Any], seeds: int) -> str:
    nearest = controls[strongest]
    if nearest["low"] is None:
        ahead = "above" if nearest["mean"] > 0 else "not above"
        return (
            f"With one seed, `{method}` is {ahead} {_strongest(strongest, controls)} "
            f"({100 * nearest['mean']:+.1f} points): one seed does not tell that from chance."
        )
    how_far = (
        f"{100 * nearest['mean']:+.1f} points, 95 % interval {100 * nearest['low']:+.1f} to "
        f"{100 * nearest['high']:+.1f}, paired over {seeds} seeds"
    )
    if all(found["low"] > 0 for found in controls.values()):
        if len(controls) == 1:
            return f"`{method}` beat its control `{strongest}`: {how_far}."
        return f"`{method}` beat all {len(controls)} controls; against the strongest, `{strongest}`: {how_far}."
    if nearest["high"] < 0:
        return f"`{method}` lost to {_strongest(strongest, controls)}: {how_far}."
    beaten = sum(found["low"] > 0 for found in controls.values())
    told = f"; it beat {beaten} of {len(controls)}" if len(controls) > 1 else ""
    return f"`{method}` can't be told from {_strongest(strongest, controls)} ({how_far}){told}."


def _strongest(name: str, controls: Mapping[str, Any]) -> str:
    return f"its control `{name}`" if len(controls) == 1 else f"its strongest control, `{name}`"


def is_oracle(name: str, results: Mapping[str, Any]) -> bool:
    """Return whether an arm saw the private images."""
    # Results of earlier versions say it of the best one alone.
    best = (results.get("oracle") or {}).get("arm")
    return bool(results["arms"][name].get("oracle", name == best or name.startswith("oracle")))
