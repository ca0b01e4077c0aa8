"""One way to refuse a setting that is out of its range."""

from typing import Any


def require(condition: bool, name: str, received: Any, expected: str) -> None:
    """Raise a `ValueError` that names a setting, what it is, and what was expected, unless a condition holds."""
    if not condition:
        raise ValueError(f"`{name}` is {received!r}; expected {expected}.")
