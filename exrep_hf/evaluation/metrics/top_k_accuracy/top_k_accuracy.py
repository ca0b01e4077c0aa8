"""Top-k accuracy, as a metric that `evaluate.load` takes from this folder."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = "The share of predictions whose k largest scores include the true class."
_INPUTS = """
Args:
    predictions: scores `(n, classes)`: logits or probabilities.
    references: classes `(n,)`.
    k: 1 for plain accuracy; with fewer classes all of them count.

Returns:
    `accuracy`, in [0, 1].
"""


class TopKAccuracy(evaluate.Metric):
    """Of equal scores the class with the smaller number counts as larger."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description=_INPUTS, features=datasets.Features(features)
        )

    def _compute(self, predictions: list, references: list, k: int = 1) -> dict:
        scores, labels = np.asarray(predictions), np.asarray(references)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return {"accuracy": float((best == labels[:, None]).any(1).mean())}
