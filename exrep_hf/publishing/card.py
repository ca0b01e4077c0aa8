"""The model card, made from `results.json` alone."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from exrep_hf.data.class_words import classes_in_words
from exrep_hf.data.loading import is_on_the_hub
from exrep_hf.finite import check_figures
from exrep_hf.publishing.card_figures import model_index
from exrep_hf.publishing.claims import images_by_rounding, tolerance
from exrep_hf.publishing.recipe import code_of, make_recipe
from exrep_hf.report import (
    arms_in_words,
    cost_rows,
    has_curve,
    oracle_in_words,
    summary_head,
    summary_rows,
    verdict,
    weak_classes,
)
from exrep_hf.teacher.head import head_in_words
from exrep_hf.training.card_names import HERE, dataset_in_words, evaluated_in_words, hub_models, model_in_words
from exrep_hf.training.markdown import harmless, plain, prose
from exrep_hf.training.metrics import TOP5, says_top5

TEMPLATE = Path(__file__).with_name("card.md")


def make_model_card(results: dict[str, Any], model_id: str) -> ModelCard:
    """Write the card of the published student.

    Args:
        results: the content of `results.json`.
        model_id: Hub name, or name of the folder, for the title; lines of code name a folder by `.`.

    Returns:
        The card, with `base_model`, `datasets`, `license`, `pipeline_tag`, `library_name` and model-index.

    Raises:
        NonFiniteError: if a figure is not finite.
    """
    check_figures(results, "The card")
    return ModelCard.from_template(
        _metadata(results, model_id.split("/")[-1]), template_path=str(TEMPLATE), **_facts(results, model_id)
    )


def _metadata(results: dict[str, Any], title: str) -> ModelCardData:
    student, images, figures = results["student"], results["dataset"], dict(results["published"])
    config = results["configuration"]["data"].get("dataset_config_name")
    teachers, bases = hub_models(results["teacher"]), hub_models(student)
    if not says_top5(images["num_labels"]):
        figures.pop(TOP5, None)
    timm = ["timm"] if student["name"].startswith("timm/") else []
    count = images["num_evaluated"]
    return ModelCardData(
        license=results["license"],
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=bases[0] if bases else None,
        base_model_relation="finetune" if bases else None,
        datasets=None if images["hub_name"] is None else [images["hub_name"]],
        tags=["exrep", "knowledge-distillation", *timm, *(f"teacher:{name}" for name in teachers)],
        model_name=title,
        eval_results=model_index(images["name"], images["part"], figures, count, images["hub_name"], config),
        metrics=["accuracy"],
        ignore_metadata_errors=False,
    )


def _facts(results: dict[str, Any], model_id: str) -> dict[str, Any]:
    """Return what the template is filled with: text that anybody may have chosen is harmless there."""
    recipe = make_recipe(results)
    left_out = {harmless(name): prose(told) for name, told in (results.get("controls_left_out") or {}).items()}
    settings, results = recipe.text, harmless(results)
    teacher, published, data = results["teacher"], results["published"], results["dataset"]
    arm = results["arms"][published["arm"]]
    count = data["num_evaluated"]
    distiller = arm["distiller"] and plain(arm["distiller"])
    has_teacher = teacher is not None
    return {
        "title": plain(harmless(model_id.split("/")[-1])),
        "model_id": model_id if is_on_the_hub(model_id) else HERE,
        "teacher": model_in_words(teacher) if has_teacher else None,
        # Results of earlier versions hold no objective.
        "was_taught": has_teacher and bool(set((arm.get("objective") or {"terms": ["kd"]})["terms"]) - {"ce"}),
        "teacher_was_trained": has_teacher and bool(results["configuration"].get("model", {}).get("teacher_steps")),
        "teacher_from_scratch": has_teacher and teacher["from_scratch"],
        "teacher_head": head_in_words(teacher.get("head")) if has_teacher else None,
        # Results of earlier versions don't say.
        "teacher_classes": classes_in_words(teacher.get("classes")) if has_teacher else None,
        "student": model_in_words(results["student"]),
        "from_scratch": results["student"]["from_scratch"],
        "input_distiller": distiller if published["variant"] == "distiller" else None,
        "removed_distiller": distiller if published["variant"] != "distiller" else None,
        "arm_in_words": plain(published["arm"]),
        "both": published["variant"] == "both",
        "push_code": results["configuration"].get("study", {}).get("push_code", False),
        "dataset": data,
        "dataset_name": dataset_in_words(data),
        "evaluated": evaluated_in_words(data),
        "other_names": [plain(each) for each in data.get("other_names") or ()],
        "license": results["license"] and plain(results["license"]),
        "seeds": results["seeds"],
        "published": published,
        "verdict": verdict(results),
        "pictures": _pictures(arm["runs"][0], arm["distiller"]),
        "head": [plain(each) for each in summary_head(results)],
        "rows": [(plain(name), *row) for name, *row in summary_rows(results)],
        "arms": arms_in_words(results),
        "oracle": oracle_in_words(results),
        "differences": bool(results.get("differences")),
        "costs": cost_rows(results),
        "device": plain(results["device"]),
        "weak": [(plain(name), *row) for name, *row in weak_classes(published)],
        "tolerance": f"{tolerance('accuracy', count):g}",
        "by_rounding": images_by_rounding(count),
        "recipe": settings,
        # Longer than any within.
        "fence": "`" * max(3, 1 + max(map(len, re.findall("`+", settings)), default=0)),
        "command": make_recipe(results).command,
        "controls": [name for name in results["arms"] if name != published["arm"]],
        "controls_left_out": left_out,
        "code": code_of(results),
        # Students of earlier versions don't say.
        "chosen": arm["runs"][0].get("chosen"),
        "steps": arm["runs"][0].get("steps"),
        "ema_decay": results["configuration"]["training"].get("ema_decay"),
        "versions": {plain(name): plain(number) for name, number in results["versions"].items()},
    }


def _pictures(run: dict[str, Any], distiller: str | None) -> list[str]:
    """Return which pictures of its training there are; results of earlier versions may lack the history of losses."""
    has_losses = "history" not in run or has_curve(run["history"])
    return [name for name, there in (("loss.png", has_losses), ("residual.png", distiller is not None)) if there]
