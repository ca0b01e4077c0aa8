"""A teacher that a study knows by its stored answers alone."""

from typing import Any

from exrep_hf.arguments import ModelArguments
from exrep_hf.report import public_name
from exrep_hf.teacher import CachedTeacher


def open_cache(model_args: ModelArguments) -> CachedTeacher | None:
    """Open the stored answers that the settings name; None if they name none.

    Raises:
        ValueError: if there are none, or they are damaged, or of another teacher than the settings name.
    """
    if model_args.teacher_cache is None:
        return None
    cache = CachedTeacher(model_args.teacher_cache, model_args.teacher_cache_revision, model_args.verify)
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
    return cache


def stored_metrics(cache: CachedTeacher, evaluated_on: str, num_evaluated: int) -> dict[str, float] | None:
    """Return what the teacher reached on the images a study evaluates on; None if it is not known for as many."""
    evaluation = cache.manifest.summary.get("evaluation")
    if evaluation is None:
        return None
    facts = (evaluation["evaluated_on"], evaluation["num_evaluated"])
    return evaluation["metrics"] if facts == (evaluated_on, num_evaluated) else None


def summarise_stored_teacher(cache: CachedTeacher, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the teacher as results hold it; `accuracy` is None where it is not known for these images."""
    measured = runs[0]["teacher"] or {"accuracy": None}
    facts = {"name": cache.manifest.plan.teacher["name"], "from_scratch": False, "answers": cache.fingerprint}
    return facts | measured | {"cost": cache.manifest.summary.get("cost")}
