"""The one sentence that people read."""

from typing import Any

import pytest

from exrep_hf.report import verdict


def _with(results: dict[str, Any], **found: tuple[float, float | None, float | None]) -> str:
    results["differences"] = {
        name: {"mean": mean, "low": low, "high": high} for name, (mean, low, high) in found.items()
    }
    for name in found:
        results["arms"].setdefault(name, dict(results["arms"]["kd"]))
    return verdict(results)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            {"kd": (0.01, 0.005, 0.015)},
            "`exrep` beat its control `kd`: +1.0 points, 95 % interval +0.5 to +1.5, paired over 2 seeds.",
        ),
        (
            {"kd": (0.01, 0.005, 0.015), "ce": (0.03, 0.02, 0.04)},
            "`exrep` beat all 2 controls; against the strongest, `kd`: +1.0 points, 95 % interval +0.5 to +1.5, "
            "paired over 2 seeds.",
        ),
        (
            {"kd": (0.01, -0.005, 0.025), "ce": (0.03, 0.02, 0.04)},
            "`exrep` can't be told from its strongest control, `kd` (+1.0 points, 95 % interval -0.5 to +2.5, "
            "paired over 2 seeds); it beat 1 of 2.",
        ),
        (
            {"kd": (-0.01, -0.015, -0.005)},
            "`exrep` lost to its control `kd`: -1.0 points, 95 % interval -1.5 to -0.5, paired over 2 seeds.",
        ),
        (
            {"kd": (0.01, None, None)},
            "With one seed, `exrep` is above its control `kd` (+1.0 points): one seed does not tell that from chance.",
        ),
        # The oracle is no control: to lose to it is no defeat.
        (
            {"kd": (0.01, 0.005, 0.015), "oracle": (-0.05, -0.06, -0.04)},
            "`exrep` beat its control `kd`: +1.0 points, 95 % interval +0.5 to +1.5, paired over 2 seeds.",
        ),
    ],
)
def test_what_it_says(found: dict[str, Any], told: str, results: dict[str, Any]) -> None:
    assert _with(results, **found) == told


def test_the_data_gap_is_told(results: dict[str, Any]) -> None:
    results["oracle"] = {"arm": "oracle", "gap": {"mean": 0.1, "std": None}}
    results["arms"]["exrep"]["data_gap_recovered"] = {"mean": 71.6, "std": 2.0}
    told = _with(results, kd=(0.01, 0.005, 0.015), oracle=(-0.02, -0.03, -0.01))
    assert told.endswith("It recovered 72 % of what the private images are worth (`oracle`).")


def test_without_controls(results: dict[str, Any]) -> None:
    """A figure alone is no success."""
    assert "differences by seed were not recorded" in verdict(results)
    del results["arms"]["kd"]
    assert "`exrep` reached 85.0 % top-1; no controls were run" in verdict(results)
