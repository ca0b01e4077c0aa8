"""Texts about the classes of a teacher's text tower, and what these are called."""

from collections.abc import Sequence
from pathlib import Path

from exrep_hf.untrusted import read_small_text

PLACE = "{}"
"""Where the name of a class stands in a prompt."""
_BYTES = 2**24


def check_prompts(prompts: Sequence[str] | None) -> None:
    """Make sure that each prompt has a place for a name.

    Raises:
        ValueError: if one has none or several, or there are no prompts.
    """
    if prompts is None:
        return
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"`prompts` is {prompts!r}; expected a list of texts such as 'a photo of a {{}}.'.")
    for prompt in prompts:
        if not isinstance(prompt, str) or prompt.count(PLACE) != 1:
            raise ValueError(
                f"`prompts` holds {prompt!r}; expected a text with one `{{}}`, where the name of a class stands, such "
                "as 'a photo of a {}.'. Put it there."
            )


def read_class_names(given: Sequence[str]) -> list[str]:
    """Return names as they are given, or where a single one is a file the lines of that, without empty ones.

    Raises:
        ValueError: if there are fewer than two.
    """
    names, where = list(given), ""
    if len(names) == 1:
        path = Path(names[0])
        if path.is_file():
            lines = read_small_text(path, _BYTES).splitlines()
            names, where = [line.strip() for line in lines if line.strip()], f" in {path.name}"
    if len(names) < 2:
        raise ValueError(
            f"`class_names` has {names!r:.200}{where}; expected the names of two or more classes, or the path of a "
            "file with one a line."
        )
    return names
