"""Terms of the loss of the user's own, as settings: `terms: {dist: {class: my_losses:DISTLoss, weight: 1.0}}`."""

import re
from collections.abc import Mapping
from typing import Any

from exrep_hf.arguments.ranges import require, require_number
from exrep_hf.arguments.settings_file import read_yaml

OUR_TERMS = ("ce", "kd", "feature", "crd", "adversarial", "critic")
"""Names of the terms, and their parts, that have weights of their own among the settings."""

INPUTS = ("labels", "sample_index", "teacher_logits", "teacher_features")
"""What a term may need of a batch, beside images and the student's answer."""

USUAL_NEEDS = ("teacher_logits",)
"""What a term needs whose class says nothing else."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# A class may be made within a function; such a one can be named, and not found again.
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.<>]*|[A-Za-z_]\w*")
_KEYS = ("class", "weight", "needs", "arguments")


def read_terms(given: Any) -> dict[str, dict[str, Any]] | None:
    """Check terms that are given as settings.

    Args:
        given: name to `class` (`module:Class`, or the name of one of `exrep_hf.losses`), `weight` (1 where not given;
            or of a term of several parts each part's), `needs` (of `INPUTS`; as the class says where not given) and
            `arguments` of the class; or the same in YAML.

    Returns:
        the same, in full but for `needs`; None for no terms.

    Raises:
        ValueError: for what is none of these, naming it.
    """
    if isinstance(given, str):
        given = read_yaml(given, f"`terms`, {given!r:.200},")
    if given is None or given == {}:
        return None
    require(isinstance(given, Mapping), "terms", given, "a mapping from name to class and weight")
    return {name: _read_term(name, term) for name, term in given.items()}


def check_term_name(name: Any) -> None:
    """Make sure that a name can stand in the log, as `loss_<name>`, and is none of ours.

    Raises:
        ValueError: if it can't, or is.
    """
    fits = isinstance(name, str) and _NAME.fullmatch(name) is not None
    require(fits, "terms", name, "names of at most 32 small letters, digits and `_`, a letter first")
    require(name not in OUR_TERMS, "terms", name, f"other names than {', '.join(OUR_TERMS)}: these are settings")


def check_weight(name: str, weight: Any) -> None:
    """Make sure that a term's weight is a number ≥ 0, or one for each part.

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(weight, Mapping):
        require_number(f"terms.{name}.weight", weight, 0)
        return
    require(bool(weight), f"terms.{name}.weight", weight, "a number, or a weight for each part")
    for part, value in weight.items():
        check_term_name(part)
        require_number(f"terms.{name}.weight.{part}", value, 0)


def check_needs(name: str, needs: Any) -> tuple[str, ...]:
    """Return what a term needs.

    Raises:
        ValueError: for what no batch has.
    """
    named = (needs,) if isinstance(needs, str) else needs
    known = isinstance(named, list | tuple) and all(each in INPUTS for each in named)
    require(known, f"terms.{name}.needs", needs, f"some of {', '.join(INPUTS)}")
    return tuple(named)


def _read_term(name: Any, term: Any) -> dict[str, Any]:
    check_term_name(name)
    expected = f"a mapping with `class`, and any of {', '.join(f'`{key}`' for key in _KEYS[1:])}"
    fits = isinstance(term, Mapping) and "class" in term and all(key in _KEYS for key in term)
    require(fits, f"terms.{name}", term, expected)
    cls, weight, arguments = term["class"], term.get("weight", 1.0), term.get("arguments") or {}
    is_class = isinstance(cls, str) and _CLASS.fullmatch(cls) is not None
    require(is_class, f"terms.{name}.class", cls, "`module:Class`, or the name of a loss of exrep_hf.losses")
    check_weight(name, weight)
    is_mapping = isinstance(arguments, Mapping) and all(isinstance(key, str) for key in arguments)
    require(is_mapping, f"terms.{name}.arguments", arguments, "a mapping from argument to value")
    read = {"class": cls, "weight": dict(weight) if isinstance(weight, Mapping) else weight}
    if arguments:
        read["arguments"] = dict(arguments)
    if term.get("needs") is not None:
        read["needs"] = list(check_needs(name, term["needs"]))
    return read
