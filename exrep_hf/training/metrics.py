"""What the Trainer reports of an evaluation."""

import torch
from timm.utils import accuracy
from transformers import EvalPrediction

METRIC_TITLES = {"accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"}
"""What cards call the metrics."""


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Top-1 and top-5 accuracy, shares in [0, 1].

    Args:
        prediction: logits `(n, num_labels)` and labels `(n,)`. With fewer than five classes `top5_accuracy` counts
            all of them, as timm does.
    """
    logits = torch.as_tensor(prediction.predictions)
    top1, top5 = accuracy(logits, torch.as_tensor(prediction.label_ids), topk=(1, 5))
    return {"accuracy": top1.item() / 100, "top5_accuracy": top5.item() / 100}
