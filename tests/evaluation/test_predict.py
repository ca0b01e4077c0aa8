"""The figures of a card, against numbers worked out by hand."""

import math
from pathlib import Path

import evaluate
import numpy as np
import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from exrep_hf.data import Preprocessing
from exrep_hf.evaluation.predict import METRICS, classification_report, predict
from exrep_hf.finite import NonFiniteError

LOGITS = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 0.0, 1.0], [0.0, 1.0, 5.0]])
LABELS = torch.tensor([0, 2, 2, 2])


def test_report() -> None:
    report = classification_report(LOGITS, LABELS, ["ant", "bee", "cat"])
    assert report["accuracy"] == 0.5 and "top5_accuracy" not in report
    assert report["per_class"] == {"ant": {"accuracy": 1.0, "count": 1}, "cat": {"accuracy": 1 / 3, "count": 3}}
    confidence = LOGITS.softmax(-1).max(-1).values.tolist()
    # Each prediction has a bin of its own but for the two surest: .936 and .976 of 15 bins.
    surest = (confidence[0] + confidence[3]) / 2
    expected = (2 * abs(surest - 1) + confidence[1] + confidence[2]) / 4
    assert report["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)
    assert sum(each["count"] for each in report["bins"]) == 4 and len(report["bins"]) == 15


def test_calibration_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500).astype(np.float32)
    labels = rng.integers(0, 4, 500)
    metric = evaluate.load(str(METRICS / "expected_calibration_error"))
    found = metric.compute(predictions=probabilities, references=labels, num_bins=7)
    error = 0.0
    for low in range(7):
        inside = [row for row in range(500) if low / 7 < probabilities[row].max() <= (low + 1) / 7]
        if inside:
            confidence = np.mean([probabilities[row].max() for row in inside])
            accuracy = np.mean([probabilities[row].argmax() == labels[row] for row in inside])
            error += len(inside) / 500 * abs(confidence - accuracy)
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-6)
    assert [each["count"] == 0 for each in found["bins"]] == [each["accuracy"] is None for each in found["bins"]]


def test_confidence_on_a_border_belongs_to_the_bin_below() -> None:
    """Bins are open below and closed above (Guo et al., section 2); a share of sure predictions sits on borders."""
    metric = evaluate.load(str(METRICS / "expected_calibration_error"))
    # Exact in binary, so that only the rule decides.
    probabilities = [[0.75, 0.25], [0.3125, 0.6875], [0.125, 0.875], [0.5, 0.5], [1.0, 0.0]]
    found = metric.compute(predictions=probabilities, references=[1, 1, 1, 0, 0], num_bins=4)
    assert found["bins"] == [
        {"count": 0, "confidence": None, "accuracy": None},
        {"count": 1, "confidence": 0.5, "accuracy": 1.0},
        {"count": 2, "confidence": 0.71875, "accuracy": 0.5},
        {"count": 2, "confidence": 0.9375, "accuracy": 1.0},
    ]
    # (1 · 0.5 + 2 · 0.21875 + 2 · 0.0625) / 5
    assert found["expected_calibration_error"] == pytest.approx(0.2125)


def test_five_guesses() -> None:
    """With ten classes the first five of them count, and no sixth."""
    logits = -torch.arange(10.0).repeat(10, 1)
    report = classification_report(logits, torch.arange(10), [str(label) for label in range(10)])
    assert (report["accuracy"], report["top5_accuracy"]) == (0.1, 0.5)


@pytest.mark.parametrize("k", [1, 3, 40])
def test_equal_scores_count_from_the_first_class(k: int) -> None:
    """A sort that isn't stable would give another accuracy on another machine; few classes don't show it."""
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 3, (300, 50)).astype(np.float32), rng.integers(0, 50, 300)
    right = 0
    for row, label in zip(scores, labels, strict=True):
        ahead = sum(row > row[label]) + sum(row[:label] == row[label])
        right += int(ahead < k)
    metric = evaluate.load(str(METRICS / "top_k_accuracy"))
    assert metric.compute(predictions=scores, references=labels, k=k) == {"accuracy": right / 300}


def test_certain_and_right_is_calibrated() -> None:
    metric = evaluate.load(str(METRICS / "expected_calibration_error"))
    found = metric.compute(predictions=[[1.0, 0.0], [0.0, 1.0]], references=[0, 1])
    assert found["expected_calibration_error"] == 0
    found = metric.compute(predictions=[[1.0, 0.0], [0.0, 1.0]], references=[1, 0])
    assert found["expected_calibration_error"] == 1


def test_metrics_are_loaded_as_evaluate_loads_any(tmp_path: Path) -> None:
    """By path, in batches too, with k."""
    metric = evaluate.load(str(METRICS / "top_k_accuracy"))
    metric.add_batch(predictions=LOGITS[:2].numpy(), references=LABELS[:2].numpy())
    metric.add_batch(predictions=LOGITS[2:].numpy(), references=LABELS[2:].numpy())
    assert metric.compute(k=2) == {"accuracy": 1.0}
    assert metric.compute(predictions=LOGITS.numpy(), references=LABELS.numpy()) == {"accuracy": 0.5}


class Broken(nn.Module):
    """Answers the mean of an image, and NaN for one that is all black."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> ImageClassifierOutput:
        means = self.weight * images.mean((1, 2, 3))
        bad = torch.where(means < -1.9, math.nan, means)
        return ImageClassifierOutput(logits=torch.stack([bad, -means, torch.full_like(means, -math.inf)], 1))


def test_answers_that_are_none() -> None:
    """NaN is the likeliest class of all: such an image would count as one of a class."""
    pixels = np.random.default_rng(0).integers(60, 256, (7, 8, 8, 3), dtype=np.uint8)
    pixels[4] = 0
    features = Features(image=Image(), label=ClassLabel(num_classes=3))
    images = Dataset.from_dict({"image": [PIL.Image.fromarray(each) for each in pixels], "label": [0] * 7}, features)
    preprocessing = Preprocessing(8, 8, None, "bilinear", (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(NonFiniteError, match=r"logits for 1 of 7 images are NaN or infinite \(rows 4\)"):
        predict(Broken(), preprocessing, images, ("image", "label"))
    logits, _ = predict(Broken(), preprocessing, images.select([0, 1]), ("image", "label"))
    assert logits[:, :2].isfinite().all() and logits.shape == (2, 3)
