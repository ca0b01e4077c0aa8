"""The model card, made from `results.json` alone."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from exrep_hf.data.class_words import classes_in_words
from exrep_hf.finite import check_figures
from exrep_hf.publishing.card_figures import model_index
from exrep_hf.publishing.claims import TOLERANCES
from exrep_hf.report import cost_rows, has_curve, oracle_in_words, summary_head, summary_rows, verdict, weak_classes
from exrep_hf.teacher.head import head_in_words

TEMPLATE = Path(__file__).with_name("card.md")


def make_model_card(results: dict[str, Any], model_id: str) -> ModelCard:
    """Write the card of the published student.

    Args:
        results: the content of `results.json`.
        model_id: Hub name, or name of the folder, for title and load snippet.

    Returns:
        The card, with `base_model`, `datasets`, `license`, `pipeline_tag`, `library_name` and model-index.

    Raises:
        NonFiniteError: if a figure is not finite.
    """
    check_figures(results, "The card")
    student, teacher = results["student"], results["teacher"]
    arm = results["arms"][results["published"]["arm"]]
    images = results["dataset"]
    config = results["configuration"]["data"].get("dataset_config_name")
    derived = not student["from_scratch"] and "/" in student["name"]
    data = ModelCardData(
        license=results["license"],
        library_name="transformers",
        pipeline_tag="image-classification",
        # What a student only has its architecture from is not a model that it derives from.
        base_model=student["name"] if derived else None,
        base_model_relation="finetune" if derived else None,
        datasets=None if images["hub_name"] is None else [images["hub_name"]],
        tags=["exrep", "knowledge-distillation", *(["timm"] if student["name"].startswith("timm/") else [])],
        model_name=model_id.split("/")[-1],
        eval_results=model_index(images["name"], images["part"], results["published"], images["hub_name"], config),
        metrics=["accuracy"],
        ignore_metadata_errors=False,
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=model_id.split("/")[-1],
        model_id=model_id,
        teacher=teacher,
        teacher_head=None if teacher is None else head_in_words(teacher.get("head")),
        # Results of earlier versions don't say.
        teacher_classes=classes_in_words((teacher or {}).get("classes")),
        student=student,
        input_distiller=arm["distiller"] if results["published"]["variant"] == "distiller" else None,
        removed_distiller=arm["distiller"] if results["published"]["variant"] != "distiller" else None,
        both=results["published"]["variant"] == "both",
        dataset=results["dataset"],
        license=results["license"],
        seeds=results["seeds"],
        published=results["published"],
        verdict=verdict(results),
        pictures=_pictures(arm["runs"][0], arm["distiller"]),
        head=summary_head(results),
        rows=summary_rows(results),
        oracle=oracle_in_words(results),
        differences=bool(results.get("differences")),
        costs=cost_rows(results),
        device=results["device"],
        weak=weak_classes(results["published"]),
        tolerances=TOLERANCES,
        command=results["command"],
        controls=[name for name in results["arms"] if name != results["published"]["arm"]],
        controls_left_out=results.get("controls_left_out", {}),
        commit=results.get("commit"),
        # Students of earlier versions don't say.
        chosen=arm["runs"][0].get("chosen"),
        steps=arm["runs"][0].get("steps"),
        ema_decay=results["configuration"]["training"].get("ema_decay"),
        configuration=json.dumps(results["configuration"], indent=2),
        versions=results["versions"],
    )


def _pictures(run: dict[str, Any], distiller: str | None) -> list[str]:
    """Return which pictures of its training there are; results of earlier versions may lack the history of losses."""
    has_losses = "history" not in run or has_curve(run["history"])
    return [name for name, there in (("loss.png", has_losses), ("residual.png", distiller is not None)) if there]
