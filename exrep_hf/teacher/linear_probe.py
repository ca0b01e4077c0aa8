"""A linear classifier on frozen features.

Distilling the logits of one that was fitted on the frozen teacher is from Marrie et al., "On good practices for
task-specific distillation of large pretrained visual models", TMLR 2024, https://arxiv.org/abs/2402.11305.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.teacher.image_folds import image_folds, spread_over_classes

_STRENGTHS = tuple(10.0**exponent for exponent in range(4, -4, -1))
"""From the strongest to the weakest: each starts where the last one ended."""
_USUAL_STRENGTH = 10.0
# A weaker penalty has to be better by so many nats, and so many that are not end the search.
_GAIN = 0.001
_PATIENCE = 2
_MOST_CROSS_VALIDATED = 20_000
# Of a feature's size: below it lies the rounding of float32.
_CONSTANT = 1e-6
# Where the gradient of the mean loss is smaller, the minimum is reached; only the last fit is used.
_SEARCHED = 1e-5
_FITTED = 1e-7


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier, and how it was come by.

    Attributes:
        weight: `(num_labels, dim)`, float32.
        bias: `(num_labels,)`, float32.
        strength: of the L2 penalty on the weights of standardised features, ≥ 0.
        accuracy: cross-validated, in [0, 1]; None where no class has two images.
        log_loss: cross-validated, in nats; None there too.
        images: number of images it was fitted on.
        views: of each of them.
        held_out: number of images that the two figures are of.
        classes: number of classes that had images.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    accuracy: float | None
    log_loss: float | None
    images: int
    views: int
    held_out: int
    classes: int


def fit_linear_probe(features: Tensor, labels: Tensor, num_labels: int) -> LinearProbe:
    """Fit multinomial logistic regression, whose L2 strength is chosen by cross-validation on these images alone.

    It minimises the sum over images of the mean cross-entropy of their views, plus `strength / 2` times the squared
    weights, on features that have mean 0 and standard deviation 1 in each dimension; biases are free. That is
    scikit-learn's `LogisticRegression(C=1 / strength)` with a weight of `1 / views` for each row. The strength is the
    largest whose accuracy is within a standard error of the best (Breiman et al., "Classification and Regression
    Trees", 1984): a simpler classifier says more about images of other kinds, as mixtures are. Folds are of images,
    all views of one together, and as even in classes as they go; the only image of a class is in none of them, but
    always fitted on. Of more than 20 000 rows so many are cross-validated, evenly over the classes. All of it is
    float64, and the same each time.

    A class without images gets no weights, and as bias the lowest logit that any class has on these features: it is
    the least likely one at every temperature, and finite.

    Args:
        features: `(images, views, dim)`.
        labels: class of every image, `(images,)`, from 0 to `num_labels` - 1.
        num_labels: number of classes.

    Returns:
        The classifier of the features as they are, on the CPU.

    Raises:
        ValueError: if features and labels don't fit each other, are not finite, or are of fewer than two classes.
    """
    labels = _checked(features, labels, num_labels)
    device = "cpu" if features.device.type == "mps" else features.device
    values = features.detach().to(device).double()
    mean, deviation = _statistics(values)
    standardised, basis, spread = _principal((values - mean) / deviation)
    present, targets = labels.unique(return_inverse=True)
    search = _Search(len(present), spread)
    strength, accuracy, log_loss, held_out = search.chosen_strength(standardised, targets)
    *_, start = search.solutions(standardised, targets, [each for each in _STRENGTHS if each >= strength])
    solution = search.solution(standardised, targets, strength, start, _FITTED)
    scaled = solution[:, :-1] @ basis.T / deviation
    bias = solution[:, -1] - scaled @ mean
    lowest = _logits(standardised, solution).min()
    weight = torch.zeros(num_labels, values.shape[-1], dtype=torch.float64, device=values.device)
    all_biases = torch.full((num_labels,), lowest.item(), dtype=torch.float64, device=values.device)
    weight[present] = scaled
    all_biases[present] = bias
    return LinearProbe(
        weight=weight.float().cpu(),
        bias=all_biases.float().cpu(),
        strength=strength,
        accuracy=accuracy,
        log_loss=log_loss,
        images=features.shape[0],
        views=features.shape[1],
        held_out=held_out,
        classes=len(present),
    )


def _checked(features: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """Make sure that there is something to fit; returns the labels on the CPU."""
    if features.ndim != 3 or labels.shape != features.shape[:1] or 0 in features.shape:
        raise ValueError(
            f"`features` is {tuple(features.shape)} and `labels` {tuple(labels.shape)}; expected (images, views, dim) "
            "and (images,), with at least one of each. Give every image a label and as many views."
        )
    labels = labels.detach().cpu().long()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_labels:
        raise ValueError(
            f"`labels` holds {low if low < 0 else high}; expected classes from 0 to {num_labels - 1}. Leave images "
            "without a label out, or number the classes as the student does."
        )
    if low == high:
        raise ValueError(
            f"All {len(labels)} labelled images are of class {low}; expected images of at least two classes: a "
            "classifier tells classes apart. Add images, or use `teacher_head='none'`."
        )
    if not bool(features.isfinite().all()):
        rows = (~features.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        raise ValueError(
            f"The features of {len(rows)} of {len(labels)} images are NaN or infinite, row {rows[0]} first; expected "
            "finite numbers. Ask the teacher in float32 or bfloat16."
        )
    return labels


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(dim,)`, 1 where a feature is constant."""
    flat = values.flatten(0, 1)
    mean, deviation = flat.mean(0), flat.std(0, correction=0)
    return mean, torch.where(deviation > _CONSTANT * mean.abs().clamp_min(1e-30), deviation, 1.0)


def _principal(standardised: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate features to their principal axes, which no L2 penalty sees; those without any spread are left out.

    Returns:
        The features `(images, views, axes)`, the axes `(dim, axes)`, and the variance along each `(axes,)`.
    """
    flat = standardised.flatten(0, 1)
    variance, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    kept = variance > 1e-10 * variance[-1]
    return standardised @ axes[:, kept], axes[:, kept], variance[kept]


class _Search:
    """Fits of the same classes, in coordinates in which the loss is about as steep in all directions."""

    def __init__(self, classes: int, variance: Tensor) -> None:
        self._classes = classes
        self._variance = variance

    def chosen_strength(self, features: Tensor, targets: Tensor) -> tuple[float, float | None, float | None, int]:
        """Return a strength, and accuracy and log-loss on held-out images, and the number of these.

        The penalty is a sum beside a sum over images, so that a strength means the same for a part of the images.
        """
        chosen = spread_over_classes(targets, max(_MOST_CROSS_VALIDATED // features.shape[1], 2))
        features, targets = features[chosen.to(features.device)], targets[chosen]
        folds, number = image_folds(targets)
        if number < 2:
            return _USUAL_STRENGTH, None, None, 0
        tried: list[tuple[float, float, float]] = []
        searches = [self._held_out(features, targets, folds == fold) for fold in range(number)]
        count = int((folds >= 0).sum())
        least, worse = float("inf"), 0
        for strength, *found in zip(_STRENGTHS, *searches, strict=True):
            loss, right = (sum(each[place] for each in found) / count for place in (0, 1))
            tried.append((strength, right, loss))
            least, worse = (loss, 0) if loss < least - _GAIN else (least, worse + 1)
            if worse == _PATIENCE:
                break
        most = max(right for _, right, _ in tried)
        error = math.sqrt(most * (1 - most) / count)
        return *next(each for each in tried if each[1] >= most - error), count

    def _held_out(self, features: Tensor, targets: Tensor, held_out: Tensor) -> Iterator[tuple[float, float]]:
        """Yield for each strength log-loss and accuracy, summed over the images that are held out."""
        inside = held_out.to(features.device)
        others, truths = features[inside], targets[held_out].to(features.device)
        expected = truths[:, None].expand(others.shape[:2])
        for solution in self.solutions(features[~inside], targets[~held_out], _STRENGTHS):
            logits = _logits(others, solution)
            losses = F.cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="none")
            right = (logits.argmax(-1) == expected).double().mean(1)
            yield losses.view_as(expected).mean(1).sum().item(), right.sum().item()

    def solutions(self, features: Tensor, targets: Tensor, strengths: Sequence[float]) -> Iterator[Tensor]:
        """Yield weights and biases `(classes, axes + 1)` for one strength after another, good enough to compare."""
        shares = torch.bincount(targets, minlength=self._classes).double() / len(targets)
        solution = torch.zeros(self._classes, features.shape[-1] + 1, dtype=torch.float64, device=features.device)
        solution[:, -1] = shares.log().to(features.device)
        for strength in strengths:
            solution = self.solution(features, targets, strength, solution, _SEARCHED)
            yield solution

    def solution(self, features: Tensor, targets: Tensor, strength: float, start: Tensor, tolerance: float) -> Tensor:
        """Return weights and biases, found from others."""
        images, views, _ = features.shape
        penalty = strength / images
        # The curvature of the loss along an axis, where all classes are as likely.
        steepness = F.pad((self._variance / self._classes + penalty).sqrt(), (0, 1), value=1.0)
        expected = targets.to(features.device).repeat_interleave(views)
        return _minimised(features.flatten(0, 1), expected, start, penalty, steepness, tolerance)


def _minimised(
    rows: Tensor, expected: Tensor, start: Tensor, penalty: float, steepness: Tensor, tolerance: float
) -> Tensor:
    scaled = (start * steepness).requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [scaled],
        max_iter=500,
        tolerance_grad=tolerance,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        solution = scaled / steepness
        total = F.cross_entropy(_logits(rows, solution), expected) + penalty / 2 * solution[:, :-1].square().sum()
        total.backward()
        return total

    with torch.enable_grad(), torch.autocast(rows.device.type, enabled=False):
        optimizer.step(loss)
    return scaled.detach() / steepness


def _logits(features: Tensor, solution: Tensor) -> Tensor:
    return F.linear(features, solution[:, :-1], solution[:, -1])
