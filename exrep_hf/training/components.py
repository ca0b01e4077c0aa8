"""The components of the loss, beside its total: in the log of training, and in the metrics of an evaluation."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from timm.utils import AverageMeter
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from exrep_hf.training.ema import AveragingTrainer
from exrep_hf.training.metrics import EvaluationSums, as_metrics, classification_metrics, side_by_side
from exrep_hf.training.precision import weights_kept

EVALUATION = "Evaluation"
"""What the Trainer calls an evaluation that returns nothing but metrics."""


class ComponentTrainer(AveragingTrainer):
    """Reports each component of the loss as the Trainer reports the loss."""

    # The Trainer sets it at each optimizer step; a single `training_step` is its own.
    current_gradient_accumulation_steps = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._train_meters: dict[str, AverageMeter] = defaultdict(AverageMeter)
        self._eval_sums = EvaluationSums()
        self._keeps_sums_alone, self._prefix = False, "eval"

    def begin(self) -> None:
        """Start with an empty logging window."""
        self._train_meters.clear()
        super().begin()

    def note_components(self, losses: dict[str, Tensor]) -> None:
        """Take note of a training batch's components, detached scalars by their log names."""
        # Like the total: a mean over the batches of each optimizer step, whose last may have fewer.
        share = 1 / self.current_gradient_accumulation_steps
        for name, value in losses.items():
            self._train_meters[name].update(value, share)

    def note_evaluation(self, values: Mapping[str, Tensor]) -> None:
        """Take note of metrics of each image of an evaluation's batch, `(batch,)` each."""
        # In one message, and in one kernel.
        self._eval_sums.add(tuple(values), self.accelerator.gather_for_metrics(side_by_side(values)))

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as the Trainer does, and sum figures up where nobody asks for logits."""
        self._eval_sums = EvaluationSums()
        # What the usual metrics are made of is summed up as it comes: all logits of 21 843 classes fill a memory.
        judges_alone = self.compute_metrics is classification_metrics and not self.args.batch_eval_metrics
        self._keeps_sums_alone = judges_alone and description == EVALUATION
        self._prefix = metric_key_prefix
        rounds = (self.args.bf16_full_eval or self.args.fp16_full_eval) and not self.is_in_train
        try:
            with weights_kept(self.distillation_objective, rounds and not self.backend_saves_model):
                return super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
        finally:
            # Whoever asks for a single step gets what it returns.
            self._keeps_sums_alone = False

    def finish_evaluation(self, metrics: dict[str, float]) -> None:
        """Add loss, accuracy, components and agreement with the teacher, before anybody looks at the figures."""
        metrics |= {f"{self._prefix}_{name}": value for name, value in as_metrics(self._eval_sums).items()}
        super().finish_evaluation(metrics)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each component's mean over the logging window, over all processes."""
        if "loss" in logs:
            for name, meter in self._train_meters.items():
                logs[name] = self.accelerator.reduce(meter.avg, reduction="mean").item()
            self._train_meters.clear()
        super().log(logs, start_time)

    def logging_window(self) -> dict[str, Any]:
        """Add the components: their sums and counts."""
        sums = {name: [float(meter.sum), meter.count] for name, meter in self._train_meters.items()}
        return super().logging_window() | {"components": sums}

    def restore_logging_window(self, window: dict[str, Any]) -> None:
        """Restore the components too."""
        super().restore_logging_window(window)
        for name, (total, count) in window["components"].items():
            meter = self._train_meters[name]
            meter.sum, meter.count = torch.tensor(total, device=self.args.device), count  # type: ignore[assignment]
            meter.avg = meter.sum / count
