"""A teacher that a study knows by its stored answers alone."""

from collections.abc import Sequence
from typing import Any

from exrep_hf.arguments import ModelArguments
from exrep_hf.report import public_name
from exrep_hf.teacher import CachedTeacher


def open_caches(model_args: ModelArguments) -> list[CachedTeacher]:
    """Open the stored answers that the settings name.

    Raises:
        ValueError: if there are none, or they are damaged, or of another teacher than the settings name.
    """
    revision, verify = model_args.teacher_cache_revision, model_args.verify
    caches = [CachedTeacher(name, revision, verify) for name in model_args.teacher_caches]
    if len(caches) == 1:
        _check_teacher(caches[0], model_args)
    return caches


def _check_teacher(cache: CachedTeacher, model_args: ModelArguments) -> None:
    stored = cache.manifest.plan.teacher
    named = {"name": public_name(model_args.teacher), "revision": model_args.teacher_revision}
    if model_args.teacher_steps:
        # What is named is where its training would begin.
        named = {}
    different = [
        f"`teacher{'' if key == 'name' else '_revision'}` {stored[key]!r} stored, {value!r} now"
        for key, value in named.items()
        if value is not None and value != stored[key]
    ]
    if different:
        raise ValueError(
            f"{model_args.teacher_cache!r} holds the answers of another teacher: {'; '.join(different)}. Leave "
            "`teacher` out, or store this teacher's answers."
        )


def stored_metrics(caches: Sequence[CachedTeacher], evaluated_on: str, num_evaluated: int) -> dict[str, float] | None:
    """Return what the teacher reached on the images a study evaluates on; None if it is not known for as many.

    What several reach together is known of no images but those that they are stored for.
    """
    evaluation = caches[0].manifest.summary.get("evaluation") if len(caches) == 1 else None
    if evaluation is None:
        return None
    facts = (evaluation["evaluated_on"], evaluation["num_evaluated"])
    return evaluation["metrics"] if facts == (evaluated_on, num_evaluated) else None


def summarise_stored_teacher(
    caches: Sequence[CachedTeacher], answers: str | None, runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the teacher as results hold it; `accuracy` is None where it is not known for these images.

    Args:
        caches: whose answers they are.
        answers: fingerprint of them all.
        runs: records of the method.
    """
    measured = runs[0]["teacher"] or {"accuracy": None}
    names = ", ".join(cache.manifest.plan.teacher["name"] or "a teacher without a name" for cache in caches)
    cost = caches[0].manifest.summary.get("cost") if len(caches) == 1 else None
    return {"name": names, "from_scratch": False, "answers": answers} | measured | {"cost": cost}
