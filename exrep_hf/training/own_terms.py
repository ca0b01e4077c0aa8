"""Terms of the user's own, from objects or from settings."""

import copy
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import exrep_hf.losses as losses
from exrep_hf.arguments import DistillationArguments
from exrep_hf.losses import Term
from exrep_hf.losses.term import check_terms

_OURS = losses.__name__


def take_terms(
    args: DistillationArguments, given: Mapping[str, Term] | None
) -> tuple[DistillationArguments, dict[str, Term]]:
    """Return settings that name all terms, in a copy, and the terms themselves.

    Args:
        args: whose `terms` are made here, if their classes are of exrep_hf, unless they are given.
        given: by name.

    Raises:
        ValueError: for terms that are none, or can't be made; or if there is nothing to train.
    """
    own = check_terms(given or {})
    missing = {name: term for name, term in args.own_terms.items() if name not in own}
    args = copy.copy(args)
    described = {name: _described(term, args.own_terms.get(name, {})) for name, term in own.items()}
    args.terms = term_settings(missing) | described or None
    args.check_has_terms()
    return args, make_terms(missing, args.seed) | own


def make_terms(settings: Mapping[str, Any] | None, seed: int, allow_code: bool = False) -> dict[str, Term]:
    """Make terms of their settings, the same for each seed.

    Args:
        settings: as `arguments.terms.read_terms` returns them.
        seed: of their first weights.
        allow_code: whether classes of other packages may be imported, which runs their code.

    Raises:
        ValueError: if a class is not found, is no module, doesn't take its arguments, or may not be imported.
    """
    made = {}
    for name, term in (settings or {}).items():
        cls = _find_class(name, term["class"], allow_code)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                loss = cls(**term.get("arguments", {}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"The class of `terms.{name}`, {term['class']}, can't be made: {error}") from error
        made[name] = Term(loss, term["weight"], term.get("needs"))
    return check_terms(made)


def term_settings(settings: Mapping[str, Any] | None, allow_code: bool = False) -> dict[str, Any]:
    """Return settings of terms in full: classes by their modules, and what they need.

    Args:
        settings: as `arguments.terms.read_terms` returns them.
        allow_code: as in `make_terms`.

    Raises:
        ValueError: as `make_terms`.
    """
    made = make_terms(settings, 0, allow_code)
    return {name: _described(term, (settings or {})[name]) for name, term in made.items()}


def _described(term: Term, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a term as settings have it, with the arguments that its class was given by them."""
    return term.described() | {key: value for key, value in settings.items() if key == "arguments"}


def _find_class(name: str, path: str, allow_code: bool) -> type[nn.Module]:
    module, _, qualified = path.rpartition(":")
    module = module or _OURS
    is_ours = module == _OURS or module.startswith(f"{_OURS}.")
    if not (is_ours or allow_code):
        raise ValueError(
            f"`terms.{name}.class` is {path!r}, which is code that is not of exrep_hf: a setting alone imports none. "
            "If you trust it, add the flag `--allow_code`; in Python pass the term itself, `terms={…: Term(…)}`."
        )
    if not is_ours and os.getcwd() not in sys.path:
        # As `python -m` does; last, so that no file of the folder takes the place of a package.
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        known = ", ".join(each for each in losses.__all__ if each != Term.__name__)
        raise ValueError(
            f"`terms.{name}.class` is {path!r}, and there is no such class ({error}); expected `module:Class`, of a "
            f"module that can be imported from here, or one of {known}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"`terms.{name}.class` is {path!r}, a {found!r:.80}; expected a subclass of `torch.nn.Module`."
        )
    return found
