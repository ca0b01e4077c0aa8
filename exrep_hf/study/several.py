"""Several teachers of a study as one."""

from collections.abc import Mapping, Sequence
from typing import Any

from exrep_hf.arguments import ModelArguments
from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.report import public_name
from exrep_hf.study.records import network_cost
from exrep_hf.study.stages import Classifier, ask_online
from exrep_hf.teacher import FeaturesOnly, TeacherEnsemble, TeacherSource, TextClasses
from exrep_hf.training.text_head import text_teacher

_RATE = "images_per_second"


def asked_together(
    networks: Sequence[Classifier], model_args: ModelArguments, rule: ClassRule, texts: TextClasses
) -> TeacherSource:
    """Return teachers that answer as one: the mean of their logits, and their features side by side.

    With a head from texts each has its own; a probe is fitted on the features of all.

    Args:
        networks: two or more.
        model_args: settings of them all.
        rule: how their classes are matched.
        texts: what a head is made of, if it is one of texts.

    Raises:
        ValueError: if they can't be put together.
    """
    sources: list[TeacherSource] = [ask_online(network, model_args) for network in networks]
    if model_args.teacher_head == "text":
        sources = [text_teacher(source, texts) for source in sources]
    elif model_args.teacher_head in ("probe", "none"):
        sources = [FeaturesOnly(source) for source in sources]
    return together(sources, rule)


def together(sources: Sequence[TeacherSource], rule: ClassRule) -> TeacherEnsemble:
    """Return teachers, all asked or all stored for the same views of the same images, that answer as one.

    Args:
        sources: two or more.
        rule: how their classes are matched.

    Raises:
        ValueError: if they can't be put together.
    """
    if isinstance(rule, Mapping):
        raise ValueError(
            f"`classes` is a mapping, and there are {len(sources)} teachers; expected `names` or `position`: it does "
            "not say whose names it holds. Give the models their names (`id2label`), or take one teacher."
        )
    return TeacherEnsemble(sources, classes="position" if rule == "position" else "names")


def names_together(model_args: ModelArguments) -> str:
    """Return what results call several teachers."""
    return ", ".join(filter(None, map(public_name, model_args.teachers)))


def cost_together(networks: Sequence[Classifier]) -> dict[str, float]:
    """Return what several teachers cost at inference, one after another."""
    costs = [network_cost(network) for network in networks]
    total = {name: sum(cost[name] for cost in costs) for name in costs[0]}
    if _RATE in total:
        total[_RATE] = 1 / sum(1 / cost[_RATE] for cost in costs)
    return total


def texts_together(heads: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """Return what is told of several heads from texts: the prompts of all, and the words, which they share."""
    known = [head for head in heads if head is not None]
    prompts = list(dict.fromkeys(prompt for head in known for prompt in head["prompts"]))
    return {"kind": "text", "prompts": prompts, "words": known[0]["words"]}
