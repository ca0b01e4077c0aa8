"""One way to refuse a setting that is out of its range."""

import math
from typing import Any


def require(condition: bool, name: str, received: Any, expected: str) -> None:
    """Raise a `ValueError` that names a setting, what it is, and what was expected, unless a condition holds."""
    if not condition:
        raise ValueError(f"`{name}` is {received!r}; expected {expected}.")


def require_number(
    name: str,
    received: Any,
    low: float,
    high: float = math.inf,
    above: bool = False,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raise a `ValueError` unless a setting is a finite number in a range.

    Args:
        name: of the setting.
        received: what it is.
        low: the smallest value.
        high: the largest, if that is finite.
        above: leaves `low` itself out.
        whole: leaves fractions out.
        optional: lets None be.
    """
    if optional and received is None:
        return
    is_number = isinstance(received, int if whole else int | float) and not isinstance(received, bool)
    inside = is_number and math.isfinite(received) and (received > low if above else received >= low)
    kind = "a whole number" if whole else "a finite number"
    limit = "" if math.isinf(high) else f" and ≤ {high:g}"
    require(inside and received <= high, name, received, f"{kind} {'>' if above else '≥'} {low:g}{limit}")
