"""Which images are held out together when a classifier is cross-validated."""

import torch
from torch import Tensor

_FOLDS = 5


def image_folds(labels: Tensor) -> tuple[Tensor, int]:
    """Deal images to at most five folds, class by class, so that each class with two images is in two of them.

    Args:
        labels: class of every image, `(images,)`, on the CPU.

    Returns:
        The fold of every image `(images,)`, -1 for the only image of a class, without which nothing is known of that
        class; and the number of folds, 0 where no class has two images.
    """
    counts = torch.bincount(labels)
    order = by_class(labels)
    order = order[counts[labels[order]] > 1]
    number = min(_FOLDS, len(order))
    folds = torch.full_like(labels, -1)
    folds[order] = torch.arange(len(order)) % max(number, 1)
    return folds, number


def spread_over_classes(labels: Tensor, most: int) -> Tensor:
    """Choose at most so many images, of each class its share; returns their places in ascending order.

    Args:
        labels: class of every image, `(images,)`, on the CPU.
        most: how many.
    """
    order = by_class(labels)
    if len(order) <= most:
        return torch.arange(len(order))
    # Whole numbers: places must not depend on how a machine rounds.
    places = torch.arange(most) * len(order) // most
    return order[places].sort().values


def by_class(labels: Tensor) -> Tensor:
    """Return the places of images sorted by class, within one in an order that is random, and always the same."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return shuffled[labels[shuffled].sort(stable=True).indices]
