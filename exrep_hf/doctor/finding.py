"""What a check finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["fine", "warning", "waste"]
"""`waste`: the run would be wasted."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        level: how bad it is.
        what: was found, with figures.
        remedy: what to do about it; empty where nothing is wrong.
    """

    level: Level
    what: str
    remedy: str = ""
