"""What a plan of stored answers may say: it comes from whoever stored them, and decides what is made in memory."""

from collections.abc import Mapping
from typing import Any

from exrep_hf.teacher.cache.manifest import DTYPES, Plan

MAX_FILES = 50_000
"""Their names and checksums stay some megabytes."""
# Of a vocabulary of classes, and of a network's width, many times over.
_LARGEST = {"num_labels": 2**24, "feature_dim": 2**20, "num_samples": 2**40, "views": 2**20, "rows_per_shard": 2**31}


def check_plan(plan: Plan, where: str) -> None:
    """Make sure that a plan's numbers are some, and that its files can be counted.

    Args:
        plan: as read, or about to be carried out.
        where: for messages.

    Raises:
        ValueError: naming the entry.
    """
    for part, names in _NUMBERS.items():
        content = getattr(plan, part)
        if not isinstance(content, Mapping):
            raise ValueError(f"{where}: `{part}` is {content!r:.100}; expected a mapping.")
        for name in names:
            _check_number(content, part, name, where)
    _check_answers(plan, where)
    if plan.storage.get("dtype") not in DTYPES:
        raise ValueError(f"{where}: `storage.dtype` is {plan.storage.get('dtype')!r:.100}; expected one of {DTYPES}.")
    _check_texts(plan, where)
    files = plan.views["views"] * plan.shards_per_view
    if files > MAX_FILES:
        raise ValueError(
            f"{where}: {plan.views['views']} views of {plan.dataset['num_samples']} images with `rows_per_shard` "
            f"{plan.storage['rows_per_shard']} are {files} files; expected at most {MAX_FILES}. Store more rows in a "
            "file."
        )


_NUMBERS: dict[str, tuple[str, ...]] = {
    "teacher": (),
    "dataset": ("num_samples",),
    "views": ("views",),
    "storage": ("rows_per_shard",),
}


def _check_answers(plan: Plan, where: str) -> None:
    """Make sure that there are logits or features, and that what is left of logits was left of some."""
    given = [name for name in ("num_labels", "feature_dim") if plan.teacher.get(name) is not None]
    # Without any, the message is about the first.
    for name in given or ["num_labels"]:
        _check_number(plan.teacher, "teacher", name, where)
    top_k = plan.storage.get("top_k")
    if top_k is not None and "num_labels" not in given:
        raise ValueError(f"{where}: `storage.top_k` is {top_k!r:.100} without `teacher.num_labels`; expected none.")
    if top_k is not None:
        _check_number(plan.storage, "storage", "top_k", where, plan.teacher["num_labels"])


def _check_number(content: Mapping[str, Any], part: str, name: str, where: str, most: int | None = None) -> None:
    value, most = content.get(name), most or _LARGEST[name]
    # True is an int.
    if type(value) is not int or not 1 <= value <= most:
        told = repr(value) if type(value) is not int or abs(value) < 2**63 else "a longer number"
        raise ValueError(f"{where}: `{part}.{name}` is {told:.100}; expected a whole number from 1 to {most}.")


def _check_texts(plan: Plan, where: str) -> None:
    for part, names in (("teacher", ("name", "license")), ("dataset", ("name", "license", "fingerprint"))):
        for name in names:
            if not isinstance(value := getattr(plan, part).get(name), str | None):
                raise ValueError(f"{where}: `{part}.{name}` is {value!r:.100}; expected text, or nothing.")
    _check_head(plan.teacher.get("head"), where)
    classes = plan.teacher.get("id2label")
    if classes is None:
        return
    if not isinstance(classes, Mapping) or not all(map(_is_class, classes, classes.values())):
        raise ValueError(f"{where}: `teacher.id2label` is {classes!r:.100}; expected names of classes by number.")


def _check_head(head: Any, where: str) -> None:
    """Make sure that what is said of a fitted head can be told: cards show it."""
    if head is None:
        return
    facts = head if isinstance(head, Mapping) else {}
    if facts.get("kind") == "text" and all(_is_texts(facts.get(name)) for name in ("prompts", "words")):
        return
    accuracy, images = facts.get("accuracy"), facts.get("images")
    is_share = accuracy is None or (type(accuracy) in (int, float) and 0 <= accuracy <= 1)
    if not (facts.get("kind") == "probe" and is_share and type(images) is int and images > 0):
        raise ValueError(
            f"{where}: `teacher.head` is {head!r:.100}; expected `kind` 'probe', a number of `images`, and "
            "`accuracy` in [0, 1] or nothing; or `kind` 'text', and lists of `prompts` and `words`."
        )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _is_class(number: Any, name: Any) -> bool:
    return isinstance(number, str) and number.isdecimal() and len(number) < 10 and isinstance(name, str)
