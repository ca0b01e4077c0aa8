"""A look at a teacher's answers, for classes that are not what they are called."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from exrep_hf.data.labels import class_of_most

_CLASSES = 20
_IMAGES = 10
# By how much another order of classes has to be better, and by how much a teacher may be above chance to be suspected.
_MARGIN = 0.3
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Look:
    """How a teacher does on some training images.

    Attributes:
        images: how many.
        classes: how many classes they are of.
        accuracy: in [0, 1], with classes as they were matched.
        reordered: in [0, 1], with classes matched to one half of the answers, on the other half.
        chance: in [0, 1], what guessing would get right.
    """

    images: int
    classes: int
    accuracy: float
    reordered: float
    chance: float

    @property
    def is_another_order(self) -> bool:
        """Whether the teacher knows these classes, by other numbers: it guesses now, and would not."""
        deviation = math.sqrt(self.chance * (1 - self.chance) / self.images)
        guesses = self.accuracy <= self.chance + _DEVIATIONS * deviation
        # Of few classes, answers that know nothing of them get some right in any order.
        return guesses and self.reordered >= max(self.accuracy, 1 / self.classes) + _MARGIN


def look_at_answers(
    rows: Sequence[int], labels: Tensor, answer: Callable[[list[int]], tuple[Tensor, Tensor | None]], batch_size: int
) -> Look | None:
    """Ask a teacher about some training images.

    Args:
        rows: of the images, as `rows_to_look_at` chose them.
        labels: class of every training image, `(n,)`, numbered as the logits are.
        answer: returns for a list of rows the logits `(batch, num_labels)`, and the batch's labels, of mixed images
            `(batch, num_labels)`, where it has any; all of the classes that student and teacher both have.
        batch_size: images at a time.

    Returns:
        None where mixing left no label.
    """
    guesses, truths = [], []
    for start in range(0, len(rows), batch_size):
        part = list(rows[start : start + batch_size])
        logits, shares = answer(part)
        guesses.append(logits.argmax(-1).cpu())
        mixed = shares is not None and shares.is_floating_point()
        truths.append(class_of_most(shares).cpu() if mixed else labels[part])  # type: ignore[arg-type]
    return look_of(torch.cat(guesses), torch.cat(truths), logits.shape[-1])


def look_of(guesses: Tensor, truths: Tensor, num_classes: int) -> Look | None:
    """Compare answers with labels, class by class and in the order of classes that fits best.

    Args:
        guesses: class that each answer names, `(images,)`, on the CPU.
        truths: class of each image, `(images,)`; below 0: it has none.
        num_classes: that an answer may name.

    Returns:
        None where no image has a label.
    """
    # Of some mixtures most has no label.
    labelled = truths >= 0
    guess, truth = guesses[labelled].numpy(), truths[labelled].numpy()
    if not len(truth):
        return None
    classes, own = np.unique(truth, return_inverse=True)
    answers, given = np.unique(guess, return_inverse=True)
    # Every other image of each class.
    by_class = np.argsort(own, kind="stable")
    fitted = np.empty(len(truth), dtype=bool)
    fitted[by_class] = (np.arange(len(truth)) - np.searchsorted(own[by_class], own[by_class])) % 2 == 0
    # Which answer each class gets in one half, no two classes the same.
    table = np.zeros((len(classes), len(answers)))
    np.add.at(table, (own[fitted], given[fitted]), 1)
    order = np.full(len(classes), -1)
    matched, answer_of = linear_sum_assignment(table, maximize=True)
    order[matched] = answer_of
    reordered = float((order[own[~fitted]] == given[~fitted]).mean()) if not fitted.all() else 0.0
    return Look(len(truth), len(classes), float((guess == truth).mean()), reordered, 1 / num_classes)


def rows_to_look_at(labels: Tensor) -> list[int]:
    """Choose ten images of each of at most twenty classes; none where fewer than two classes have as many.

    Args:
        labels: class of every image, `(n,)`; those below 0 have none.
    """
    classes, counts = labels[labels >= 0].unique(return_counts=True)
    enough = classes[counts >= _IMAGES].tolist()
    if len(enough) < 2:
        return []
    chosen = [enough[place] for place in np.linspace(0, len(enough) - 1, min(_CLASSES, len(enough))).astype(int)]
    return [row for number in chosen for row in _spread(torch.nonzero(labels == number).flatten().tolist(), _IMAGES)]


def _spread(rows: list[int], count: int) -> list[int]:
    return [rows[place] for place in np.linspace(0, len(rows) - 1, count).astype(int)]


def told(look: Look | None, classes: Any) -> str:
    """Return what a run says of the look.

    Args:
        look: None: there were too few images.
        classes: how many student and teacher both have.

    Raises:
        ValueError: if the teacher knows the classes by other numbers.
    """
    if look is None:
        return (
            f"the teacher's answers were not looked at: that takes {_IMAGES} labelled images of each of two of the "
            f"{classes} classes"
        )
    if look.is_another_order:
        raise ValueError(
            f"The teacher is right about {look.accuracy:.1%} of {look.images} training images, as good as guessing "
            f"({look.chance:.1%}), and about {look.reordered:.1%} if its classes stand in another order: they are not "
            "what they are called, or `classes='position'` matched others. Expected the student's classes in the "
            "student's order. Give `classes` a mapping from the teacher's names to those of the data, or correct the "
            "teacher's `id2label`."
        )
    return f"the teacher is right about {look.accuracy:.1%} of {look.images} training images of {look.classes} classes"
