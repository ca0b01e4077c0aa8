"""What each arm was, in words, from the settings that it was run with."""

from collections.abc import Mapping
from typing import Any

from exrep_hf.report.verdict import is_oracle


def arms_in_words(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what each arm learnt from, by name; arms of which the results say nothing are left out.

    Args:
        results: the content of `results.json`.
    """
    arms, words = results["arms"], {}
    rates = {name: _learning_rate(arm) for name, arm in arms.items()}
    same_rate = len(set(rates.values())) == 1
    for name, arm in arms.items():
        told = objective_in_words(arm.get("objective") or _from_settings(arm))
        if told is None:
            continue
        words[name] = told + _distiller(arm) + _changes(arm)
        if rates[name] is not None and not same_rate:
            words[name] += f"; learning rate {rates[name]:g}"
        if is_oracle(name, results):
            data = results["dataset"]
            words[name] = f"trained on all {data['num_public'] + data['num_private']} images, {words[name]}"
    return words


def objective_in_words(objective: Mapping[str, Any]) -> str | None:
    """Return what a student learnt from: terms with their weights, and on what images; None without a term.

    Args:
        objective: `terms`, by name what is known of each (`weight`, and of some `temperature`, `smoothing`, `class`);
            and `mixup`, `cutmix` and `mix_rounds`.
    """
    terms = [_term(name, facts) for name, facts in objective["terms"].items()]
    if not terms:
        return None
    *others, last = terms
    told = f"{', '.join(others)} and {last}" if others else last
    kinds = [kind for kind in ("mixup", "cutmix") if objective.get(kind)]
    if not kinds:
        return told
    rounds = objective.get("mix_rounds") or 1
    images = f"mixtures of {2**rounds} images" if rounds > 1 else "mixed images"
    return f"{told}, on {images} ({' and '.join(kinds)})"


_TERMS = {
    "ce": "labels",
    "kd": "the teacher's logits",
    "feature": "the teacher's features",
    "crd": "contrast with the teacher's features (CRD)",
    "adversarial": "a critic of features",
}
# Settings that are told in words.
_TOLD = frozenset({f"{name}_weight" for name in _TERMS} | {"terms", "temperature", "label_smoothing_factor"})
_TOLD |= {"mixup", "cutmix", "mix_rounds", "distiller", "distiller_share", "learning_rate", "train_on"}


def _term(name: str, facts: Mapping[str, Any]) -> str:
    what = _TERMS.get(name, f"the term `{name}`")
    known = [f"class `{facts['class']}`"] if facts.get("class") else []
    weight = facts.get("weight")
    if isinstance(weight, Mapping):
        known.append("weights " + ", ".join(f"`{part}` {value:g}" for part, value in weight.items()))
    elif weight is not None:
        known.append(f"weight {weight:g}")
    known += [f"{each} {facts[each]:g}" for each in ("temperature", "smoothing") if facts.get(each)]
    return f"{what} ({', '.join(known)})" if known else what


def _distiller(arm: Mapping[str, Any]) -> str:
    if arm["distiller"] is None:
        return ""
    removed = ", which is removed afterwards" if arm["plain"] else ""
    return f", behind the `{arm['distiller']}` Input Distiller{removed}"


def _changes(arm: Mapping[str, Any]) -> str:
    """Return what else an arm changed, by the names of the settings."""
    left = {name: value for name, value in arm["changes"].items() if name not in _TOLD and value is not None}
    told = [f"`{name} {_text(value)}`" for name, value in left.items()]
    return f"; {', '.join(told)}" if left else ""


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _learning_rate(arm: Mapping[str, Any]) -> float | None:
    run = arm["runs"][0]
    given = run.get("settings", {}).get("training", {}).get("learning_rate")
    return run.get("chosen", {}).get("learning_rate", given)


def _from_settings(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objective as far as results of earlier versions tell it.

    Their defaults were others, and were not recorded: which terms took part is known by their losses, a weight only
    where it was given.
    """
    run = arm["runs"][0]
    given = run.get("settings", {}).get("training", {})
    terms: dict[str, Any] = {}
    for name in _TERMS:
        if f"loss_{name}" in run["after"]:
            terms[name] = {"weight": given.get(f"{name}_weight")}
    if "kd" in terms:
        terms["kd"]["temperature"] = given.get("temperature")
    terms |= given.get("terms") or {}
    return {"terms": terms, **{kind: given.get(kind) for kind in ("mixup", "cutmix", "mix_rounds")}}
