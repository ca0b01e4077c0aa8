"""How a teacher's classes were matched, in words."""

from collections.abc import Mapping
from typing import Any

_NAMED = 10
_RULES = {"names": "by name", "position": "by number where names don't tell", "mapping": "by a mapping"}


def classes_in_words(described: Mapping[str, Any] | None) -> str | None:
    """Return a line about what `ClassMap.described` gave; None where there is nothing to say.

    Of many names the first are told, and how many there are.
    """
    if described is None:
        return None
    count, left_out, renamed = described["shared"], described["left_out"], described["renamed"]
    rule = _RULES[described["rule"]]
    told = [f"{described['teacher_classes']}, of which {count} are the student's, matched {rule}"]
    if left_out:
        names = _first([f"`{name}`" for name in left_out])
        told.append(f"{len(left_out)} of the student's {described['student_classes']} it does not know: {names}")
    if renamed:
        pairs = [f"`{theirs}` is `{own}`" for theirs, own in renamed.items()]
        few = f": {', '.join(pairs)}" if len(pairs) <= _NAMED else ""
        told.append(f"{len(renamed)} have other names in the student{few}")
    return "; ".join(told)


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
