"""Accuracy, against counting by hand."""

import math

import numpy as np
import pytest
from transformers import EvalPrediction

from exrep_hf.training.metrics import classification_metrics


def test_top1_and_top5() -> None:
    """Percents in the place of shares, or a top-5 that counts six, pass every test of order."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 10)).astype(np.float32), rng.integers(0, 10, 200)
    metrics = classification_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    above = [int((row > row[label]).sum()) for row, label in zip(logits, labels, strict=True)]
    top1, top5 = (sum(count < k for count in above) / 200 for k in (1, 5))
    assert metrics == pytest.approx({"accuracy": top1, "top5_accuracy": top5})
    assert 0.05 < top1 < 0.2 and 0.4 < top5 < 0.6


def test_images_without_a_label_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """Taken as wrong they would lower the accuracy, by as much as there are of them."""
    logits = np.eye(4)[[0, 1, 2, 3]]
    metrics = classification_metrics(EvalPrediction(predictions=logits, label_ids=np.array([0, -1, 1, -100])))
    assert metrics["accuracy"] == 0.5 and "2 of 4 images have no label" in caplog.text
    assert classification_metrics(EvalPrediction(predictions=logits, label_ids=np.full(4, -1))) == {}


def test_fewer_than_five_classes() -> None:
    """Two classes must not make top-5 fail."""
    metrics = classification_metrics(
        EvalPrediction(predictions=np.array([[1.0, 0.0], [1.0, 0.0]]), label_ids=np.array([0, 1]))
    )
    assert metrics == {"accuracy": 0.5, "top5_accuracy": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_answers_that_are_none(value: float) -> None:
    """An image whose logits are NaN would count as one of the first class."""
    logits = np.array([[1.0, 0.0], [value, 0.0], [2.0, -math.inf]])
    metrics = classification_metrics(EvalPrediction(predictions=logits, label_ids=np.array([0, 0, 0])))
    assert math.isnan(metrics["accuracy"]) and math.isnan(metrics["top5_accuracy"])
    metrics = classification_metrics(EvalPrediction(predictions=logits[::2], label_ids=np.array([0, 0])))
    assert metrics["accuracy"] == 1.0, "a class that is ruled out is an answer"
