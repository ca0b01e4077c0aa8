"""What the Trainer reports of an evaluation."""

import logging
import math
from typing import Any

import torch
from timm.utils import accuracy
from transformers import EvalPrediction

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.checks import is_map_style
from exrep_hf.training.probe_images import may_have_labels

logger = logging.getLogger(__name__)
METRIC_TITLES = {"accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"}
"""What cards call the metrics."""


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Top-1 and top-5 accuracy, shares in [0, 1].

    Args:
        prediction: logits `(n, num_labels)` and labels `(n,)`; images whose label is below 0 have none and do not
            count, and where none has one there is no metric. With fewer than five classes `top5_accuracy` counts
            all of them, as timm does. Both are NaN where the largest logit of an image is NaN or infinite: it would
            count as some class.
    """
    logits, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
    if unlabelled := int((labels < 0).sum()):
        logger.warning("%d of %d images have no label: accuracy is that of the others.", unlabelled, len(labels))
        logits, labels = logits[labels >= 0], labels[labels >= 0]
    if not len(labels):
        return {}
    if rows := (~logits.amax(-1).isfinite()).nonzero().flatten().tolist():
        logger.warning(
            "The logits of %d of %d images are NaN or infinite, row %d first.", len(rows), len(logits), rows[0]
        )
        return {"accuracy": math.nan, "top5_accuracy": math.nan}
    top1, top5 = accuracy(logits, labels, topk=(1, 5))
    return {"accuracy": top1.item() / 100, "top5_accuracy": top5.item() / 100}


def check_best_metric(args: DistillationArguments, eval_dataset: Any) -> None:
    """Make sure that the metric by which the best model is chosen can be computed.

    Args:
        args: with `metric_for_best_model`.
        eval_dataset: as a trainer walks through it.

    Raises:
        ValueError: if it is one of ours, and no image has a label.
    """
    name = (args.metric_for_best_model or "").removeprefix("eval_")
    if name in METRIC_TITLES and is_map_style(eval_dataset) and not may_have_labels(eval_dataset):
        raise ValueError(
            f"`metric_for_best_model` is {args.metric_for_best_model!r}, and `eval_dataset` has no labels to compute "
            "it by. Evaluate on labelled images, or choose by `teacher_agreement` or `loss`."
        )
