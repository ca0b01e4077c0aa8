"""Expected calibration error, as a metric that `evaluate.load` takes from this folder."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """How far confidence is from accuracy: predictions are sorted into equally wide bins of confidence, and
the differences of mean confidence and accuracy are averaged over the bins, weighted by their shares of the
predictions."""
_INPUTS = """
Args:
    predictions: probabilities `(n, classes)`.
    references: classes `(n,)`.
    num_bins: number of bins, 15 as in the paper.

Returns:
    `expected_calibration_error`, in [0, 1], and `bins`: `count`, mean `confidence` and `accuracy` of each, None where
    it is empty.
"""
_CITATION = """@inproceedings{guo2017calibration,
  title     = {On Calibration of Modern Neural Networks},
  author    = {Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.},
  booktitle = {International Conference on Machine Learning},
  year      = {2017}
}"""


class ExpectedCalibrationError(evaluate.Metric):
    """Guo et al., ICML 2017, equation 3."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions: list, references: list, num_bins: int = 15) -> dict:
        probabilities, labels = np.asarray(predictions, np.float64), np.asarray(references)
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
        # A confidence on a border belongs to the bin below, as in the paper; 0 has none below.
        place = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
        bins, error = [], 0.0
        for number in range(num_bins):
            inside = place == number
            count = int(inside.sum())
            means = [float(values[inside].mean()) if count else None for values in (confidence, right)]
            bins.append({"count": count, "confidence": means[0], "accuracy": means[1]})
            if means[0] is not None and means[1] is not None:
                error += count / len(labels) * abs(means[0] - means[1])
        return {"expected_calibration_error": error, "bins": bins}
