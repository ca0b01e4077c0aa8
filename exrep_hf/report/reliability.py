"""How much a classifier's confidence is worth, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_reliability(bins: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy over confidence, and how many predictions there are of each confidence.

    Args:
        bins: equally wide; `count`, and mean `confidence` and `accuracy` in [0, 1], None where a bin is empty.
        path: of the PNG.
    """
    figure = Figure(figsize=(4, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width = 1 / len(bins)
    places = [(number + 0.5) * width for number in range(len(bins))]
    above.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    above.bar(places, [each["accuracy"] or 0 for each in bins], 0.9 * width)
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1)
    below.bar(places, [each["count"] for each in bins], 0.9 * width)
    below.set_ylabel("images")
    below.set_xlabel("confidence")
    figure.savefig(path, dpi=110)
