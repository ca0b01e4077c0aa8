"""The CPU's generators, of which every random transform draws: seeded for an item, and left as they were."""

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the CPU's generators of torch, NumPy and `random` as they were."""
    # torch's CPU generator alone: `torch.manual_seed` would also reset those of accelerators.
    generator = torch.default_generator
    before = random.getstate(), np.random.get_state(), generator.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])


def seed_of(entropy: Sequence[int]) -> int:
    """Return one seed of some numbers ≥ 0."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def seed_generators(entropy: Sequence[int]) -> None:
    """Seed the CPU's generators of torch, NumPy and `random` from some numbers ≥ 0."""
    seed = seed_of(entropy)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
