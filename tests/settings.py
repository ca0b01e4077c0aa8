"""Settings of training that tests share."""

from typing import Any

EVERY_TERM: dict[str, Any] = {
    "ce_weight": 1.0,
    "kd_weight": 1.0,
    "crd_weight": 0.8,
    "adversarial_weight": 0.1,
    "critic_weight": 0.1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "freeze_batch_norm": True,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
}
"""All terms of the loss, on images as they are."""
