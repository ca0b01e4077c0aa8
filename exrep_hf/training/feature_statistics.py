"""A look at a teacher's features of training images, by which they are standardised."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.seeding import generators_kept, seed_generators
from exrep_hf.finite import NonFiniteError, is_finite
from exrep_hf.teacher.feature_moments import Moments

IMAGES = 2048
"""So many images leave the mean a fiftieth of a deviation away from that of all."""

# Sets these draws apart from those of training.
_STATISTICS = 2


def collect_moments(
    dataset: Any,
    dim: int,
    answer: Callable[[list[Any]], Tensor],
    batch_size: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> Moments:
    """Ask a teacher about images as they are trained on; no generator moves.

    Args:
        dataset: as a trainer walks through it.
        dim: width of the features.
        answer: returns the features `(batch, dim)` of some items, mixed as in training.
        batch_size: images at a time.
        seed: of the run.
        process: which batches are this process's.
        processes: how many share them.

    Raises:
        NonFiniteError: if features are not finite.
    """
    moments = Moments(dim)
    for number, items in enumerate(_batches(dataset, batch_size, seed)):
        if number % processes == process:
            with generators_kept():
                seed_generators([seed, number, _STATISTICS])
                features = answer(items())
            if not is_finite(features):
                raise NonFiniteError(
                    "The teacher's features of training images are not finite, before the first step. Expected finite "
                    "ones: give it images in its own normalisation, or weights of a wider type than they are in."
                )
            moments.add(features)
    return moments


def _batches(dataset: Any, size: int, seed: int) -> Iterator[Callable[[], list[Any]]]:
    """Walk through some batches of items, which are made when they are called for."""
    if not isinstance(dataset, SeededDataset):
        with generators_kept():
            stream = list(islice(iter(dataset), IMAGES))
        for start in range(0, len(stream), size):
            yield lambda start=start: stream[start : start + size]  # type: ignore[misc]
        return
    fixed = dataset if isinstance(dataset, ReplayedDataset) and dataset.extra is None else None
    if fixed is not None and (count := fixed.policy.views * len(fixed.dataset)) <= IMAGES:
        # So few that they can be asked about all, as they are where answers are stored.
        for start in range(0, count, size):
            yield lambda start=start: fixed.made(range(start, min(start + size, count)))  # type: ignore[misc]
        return
    order = np.random.default_rng([seed, _STATISTICS])
    made, walk = 0, 0
    while made < IMAGES:
        # Rows may lie in the order of their classes.
        indices = order.permutation(len(dataset)).tolist()[: IMAGES - made]
        for start in range(0, len(indices), size):
            yield lambda part=indices[start : start + size], walk=walk: _items(dataset, part, walk)  # type: ignore[misc]
        made, walk = made + len(indices), walk + 1


def _items(dataset: SeededDataset, indices: Sequence[int], walk: int) -> list[Any]:
    before = dataset.epoch
    dataset.set_epoch(walk)
    try:
        return dataset.__getitems__(indices)
    finally:
        dataset.set_epoch(before)
