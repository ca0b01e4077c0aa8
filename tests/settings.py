"""Settings of training that tests share."""

from typing import Any

EVERY_TERM: dict[str, Any] = {
    "ce_weight": 1.0,
    "kd_weight": 1.0,
    "feature_weight": 0.5,
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

BEST_OF_EACH_STEP: dict[str, Any] = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss_kd",
    "greater_is_better": True,
    "learning_rate": 0.05,
    "crd_weight": 0.0,
}
"""A checkpoint at each step, of which the worst by distillation is the best: that is not the last."""
