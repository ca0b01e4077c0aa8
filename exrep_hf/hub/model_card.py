"""The model card, made from `results.json` alone."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from exrep_hf.report import summary_head, summary_rows

TEMPLATE = Path(__file__).with_name("model_card.md")
METRIC_NAMES = {"accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"}


def _evaluation_results(results: dict[str, Any]) -> list[EvalResult]:
    data, published = results["dataset"], results["published"]
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=data["name"],
            dataset_name=data["name"],
            dataset_split=data["evaluated_on"],
            metric_type=metric,
            metric_name=title,
            metric_value=published[metric],
        )
        for metric, title in METRIC_NAMES.items()
        if metric in published
    ]


def make_model_card(results: dict[str, Any], model_id: str) -> ModelCard:
    """Write the card of the published student.

    Args:
        results: the content of `results.json`.
        model_id: Hub name, or name of the folder, for title and load snippet.

    Returns:
        The card, with `base_model`, `datasets`, `license`, `pipeline_tag`, `library_name` and model-index.
    """
    student, teacher = results["student"], results["teacher"]
    arm = results["arms"][results["published"]["arm"]]
    data = ModelCardData(
        license=results["license"],
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=student["name"],
        datasets=[results["dataset"]["name"]],
        tags=["exrep", "knowledge-distillation", *(["timm"] if student["name"].startswith("timm/") else [])],
        model_name=model_id.split("/")[-1],
        eval_results=_evaluation_results(results),
        metrics=["accuracy"],
        ignore_metadata_errors=False,
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=model_id.split("/")[-1],
        model_id=model_id,
        teacher=teacher,
        student=student,
        input_distiller=None if arm["plain"] else arm["distiller"],
        removed_distiller=arm["distiller"] if arm["plain"] else None,
        dataset=results["dataset"],
        license=results["license"],
        seeds=results["seeds"],
        published=results["published"],
        head=summary_head(results),
        rows=summary_rows(results),
        configuration=json.dumps(results["configuration"], indent=2),
        versions=results["versions"],
    )
