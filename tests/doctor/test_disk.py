"""How many checkpoints there are, and how large."""

from collections.abc import Callable
from typing import Any

import pytest

from exrep_hf.doctor.disk import checkpoint_bytes, checkpoints_kept
from exrep_hf.doctor.patient import Patient


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"save_strategy": "no"}, 0),
        ({"save_steps": 100}, 3 * 2 + 1),
        ({"save_steps": 100, "save_total_limit": 0}, 3 * 10),
        ({"save_steps": 0.25, "save_total_limit": 0}, 3 * 4),
        ({"save_steps": 600}, 3 * 2),
        # 80 images, fewer than a step takes.
        ({"save_strategy": "epoch", "save_total_limit": 0, "max_steps": 7}, 3 * 7),
    ],
)
def test_how_many(settings: dict[str, Any], kept: int, patient: Callable[..., Any]) -> None:
    """Of three runs; while the newest is written there is one more."""
    trainer = patient(**{"max_steps": 1000, "save_strategy": "steps"} | settings)
    assert checkpoints_kept(Patient.unasked(trainer, True, True, runs=3)) == kept


def test_how_large(patient: Callable[..., Any]) -> None:
    """Weights with two moments each, and the bank of two embeddings and a class an image."""
    plain = checkpoint_bytes(Patient.unasked(patient(), True, True, runs=1))
    weights = sum(weight.numel() for weight in patient().student.parameters())
    assert plain >= 12 * weights
    settings = {"crd_weight": 0.8, "mixup": 0.0, "cutmix": 0.0, "num_negatives": 8}
    larger = [
        checkpoint_bytes(Patient.unasked(patient(**settings, crd_table_dtype=dtype), True, True, runs=1))
        for dtype in ("float32", "bfloat16")
    ]
    assert larger[0] - larger[1] == 2 * 80 * 128 * 2
