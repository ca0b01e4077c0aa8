"""What a misspelt name was meant to be."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that follows a name that is not known, in brackets; nothing where no other is like it."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean `{nearest[0]}`?)" if nearest else ""
