"""What the worst classes are taken for."""

from collections.abc import Sequence

import torch
from torch import Tensor


def worst_confusions(
    logits: Tensor, labels: Tensor, names: Sequence[str], classes: int = 10, answers: int = 6
) -> dict[str, dict[str, int]]:
    """Count the answers for the classes with the lowest accuracy; bounded, however many classes there are.

    Args:
        logits: `(n, num_labels)`.
        labels: `(n,)`.
        names: of the classes.
        classes: at most so many, the worst first; those without a mistake are left out.
        answers: at most so many wrong ones of each, the most frequent first.

    Returns:
        By true class and by answer, the number of images; the right answer stands first, also where it is 0.
    """
    predicted = logits.argmax(-1)
    right = {label: (predicted[labels == label] == label).double().mean().item() for label in labels.unique().tolist()}
    found = {}
    for label in sorted((label for label in right if right[label] < 1), key=lambda each: right[each])[:classes]:
        counts = torch.bincount(predicted[labels == label], minlength=logits.shape[1])
        wrong = [each for each in counts.argsort(descending=True, stable=True).tolist() if each != label]
        kept = [label, *(each for each in wrong[:answers] if counts[each] > 0)]
        found[names[label]] = {names[each]: int(counts[each]) for each in kept}
    return found
