"""What the Trainer reports of an evaluation."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import EvalPrediction

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.checks import is_map_style
from exrep_hf.training.probe_images import may_have_labels

logger = logging.getLogger(__name__)
_NO_ROW = torch.iinfo(torch.int64).max
# Of each image: whether it has a label, is right, is right among five, and has logits that say nothing.
_LABELLED, _RIGHT, _AMONG_FIVE, _LOST = "_labelled", "_right", "_among_five", "_lost"
TOP5 = "top5_accuracy"
METRIC_TITLES = {"accuracy": "Top-1 accuracy", TOP5: "Top-5 accuracy"}
"""What cards call the metrics."""


def says_top5(num_labels: int) -> bool:
    """Return whether a top-5 accuracy says anything: of five classes or fewer the right one is always among five."""
    return num_labels > 5


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Top-1 and top-5 accuracy, shares in [0, 1].

    Args:
        prediction: logits `(n, num_labels)` and labels `(n,)`; images whose label is below 0 have none and do not
            count, and where none has one there is no metric. With fewer than five classes `top5_accuracy` counts
            all of them, as timm does. Both are NaN where the largest logit of an image is NaN or infinite: it would
            count as some class.
    """
    logits, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
    sums, values = EvaluationSums(), judged(logits, labels)
    sums.add(tuple(values), side_by_side(values))
    return as_metrics(sums)


class EvaluationSums:
    """Sums over the images of an evaluation: all that is kept of it."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._images: dict[tuple[str, ...], int] = {}
        self._first_lost: Tensor | None = None

    def add(self, names: tuple[str, ...], table: Tensor) -> None:
        """Add the metrics of some images.

        Args:
            names: of the metrics.
            table: `(images, metrics)`.
        """
        if _LOST in names:
            rows = torch.arange(len(table), device=table.device) + self._images.get(names, 0)
            first = rows.masked_fill(table[:, names.index(_LOST)] == 0, _NO_ROW).amin()
            self._first_lost = first if self._first_lost is None else torch.minimum(self._first_lost, first)
        total, known = table.sum(0), self._sums.get(names)
        self._sums[names] = total if known is None else known.add_(total)
        self._images[names] = self._images.get(names, 0) + len(table)

    @property
    def first_lost(self) -> int:
        """The first image whose logits say nothing, where there is one."""
        return _NO_ROW if self._first_lost is None else int(self._first_lost)

    def totals(self) -> dict[str, tuple[float, int]]:
        """Return the sum of each metric, and of how many images it is."""
        found: dict[str, tuple[float, int]] = {}
        for names, sums in self._sums.items():
            for name, total in zip(names, sums.tolist(), strict=True):
                before, images = found.get(name, (0.0, 0))
                found[name] = before + total, images + self._images[names]
        return found


def side_by_side(values: Mapping[str, Tensor]) -> Tensor:
    """Return metrics of each image, `(batch,)` each, as one table `(batch, metrics)`, float32."""
    return torch.stack([value.float() for value in values.values()], dim=1)


def judged(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return of each image what `as_metrics` makes top-1 and top-5 accuracy of.

    Args:
        logits: `(batch, num_labels)`.
        labels: `(batch,)`; below 0: none.
    """
    likeliest = logits.topk(min(5, logits.shape[-1])).indices  # (batch, 5)
    right = likeliest == labels.unsqueeze(-1)
    has_label = labels >= 0
    return {
        _LABELLED: has_label,
        _RIGHT: right[:, 0],
        _AMONG_FIVE: right.any(-1),
        _LOST: has_label & ~logits.amax(-1).isfinite(),
    }


def as_metrics(sums: EvaluationSums) -> dict[str, float]:
    """Return means over images; of what `judged` says, the accuracies of `classification_metrics`."""
    totals = sums.totals()
    counts = {name: totals.pop(name) for name in (_LABELLED, _RIGHT, _AMONG_FIVE, _LOST) if name in totals}
    means = {name: total / images for name, (total, images) in totals.items()}
    # As the Trainer has it: the loss, what is judged, and then the components.
    loss = {"loss": means.pop("loss")} if "loss" in means else {}
    if not counts:
        return loss | means
    (labelled, images), (lost, _) = counts[_LABELLED], counts[_LOST]
    if labelled < images:
        logger.warning("%d of %d images have no label: accuracy is that of the others.", images - labelled, images)
    if not labelled:
        return loss | means
    if lost:
        logger.warning(
            "The logits of %d of %d images are NaN or infinite, row %d first.", lost, labelled, sums.first_lost
        )
    right = {"accuracy": counts[_RIGHT][0], "top5_accuracy": counts[_AMONG_FIVE][0]}
    judged_as = {name: math.nan if lost else count / labelled for name, count in right.items()}
    return loss | judged_as | means


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
