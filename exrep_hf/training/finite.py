"""A Trainer that ends when a loss or a weight is no longer finite, before anything of it is saved.

What is taken here of the Trainer that is not public, and nowhere else: `_get_grad_norm`, which all backends' norms of
gradients pass, and `_save_checkpoint`, in front of which the tensors have to be looked at.
"""

import logging
import math
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from transformers.trainer_utils import IntervalStrategy

from exrep_hf.finite import NonFiniteError, largest, named, nonfinite
from exrep_hf.outputs import DistillationOutput, TeacherOutput
from exrep_hf.training.finite_watch import GRADIENTS, STUDENT_LOGITS, TEACHER_FEATURES, TEACHER_LOGITS, FiniteWatch
from exrep_hf.training.found_batch import FoundBatchTrainer

logger = logging.getLogger(__name__)


class FiniteTrainer(FoundBatchTrainer):
    """Keeps on the device which terms were finite, and looks at that where the log, an evaluation or a save waits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._watch = FiniteWatch()
        super().__init__(*args, **kwargs)

    @property
    def _step(self) -> int:
        """The step that is being made, as the log counts them."""
        return self.state.global_step + 1

    def begin(self) -> None:
        """Refuse weights, given or of a checkpoint, from which every step would come out NaN."""
        super().begin()
        self._watch.clear()
        self.check_weights("before the first step")

    # Taken note of at each step

    def note_images(self, batch: dict[str, Tensor]) -> None:
        """Take note of a training batch's images, before they are mixed."""
        self._watch.note_images(self._step, batch)

    def note_terms(self, output: DistillationOutput, answer: TeacherOutput) -> None:
        """Take note of what the objective made of a training batch, and of what it was made from."""
        logits = {TEACHER_LOGITS: answer.logits, TEACHER_FEATURES: answer.features, STUDENT_LOGITS: output.logits}
        values = {name: largest(value) for name, value in logits.items() if value is not None}
        terms = {name: value for name, value in (output.losses or {}).items()}
        if output.loss is not None:
            terms["loss"] = output.loss
        self._watch.note(self._step, values | terms)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        if grad_norm is None and not self._shows_norm():
            return None
        norm = super()._get_grad_norm(model, grad_norm)
        # A scaler of float16 leaves out steps with such gradients; so does DeepSpeed's own.
        scaled = self.accelerator.scaler is not None or self.accelerator.distributed_type == DistributedType.DEEPSPEED
        if isinstance(norm, Tensor) and not scaled:
            self._watch.note(self._step, {GRADIENTS: _local(norm)})
        return norm

    def _shows_norm(self) -> bool:
        """Whether the norm of unclipped gradients goes into the log: it takes a walk through all of them."""
        by_steps = self.args.logging_strategy == IntervalStrategy.STEPS and not self.is_deepspeed_enabled
        is_first = self.args.logging_first_step and self._step == 1
        return not by_steps or is_first or self._step % self.state.logging_steps == 0

    # Looked at where the host waits anyway

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the figures as they are, and end the run if they are not finite."""
        super().log(logs, start_time)
        if "loss" in logs or "train_loss" in logs:
            self.check_run()

    def begin_evaluation(self) -> None:
        """Look before an evaluation within training, which might find a ruined student the best."""
        super().begin_evaluation()
        if self.is_in_train:
            self.check_run()

    def finish_evaluation(self, metrics: dict[str, float]) -> None:
        """Say so where a figure is not finite."""
        super().finish_evaluation(metrics)
        lost = [name for name, value in metrics.items() if not math.isfinite(value)]
        if lost:
            logger.warning("Not finite: %s; by such a figure no student is the best.", named(lost))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_run()
        found = nonfinite(self.distillation_objective.auxiliary_state(parameters=False))
        if self._on_any_process(bool(found)):
            raise NonFiniteError(
                f"Training ends at step {self.state.global_step}: what is trained beside the student is not finite"
                f"{f' ({named(found)})' if found else ''}. {self._what_stays()} {_LOWER}"
            )
        super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the student, unless it holds NaN or infinite values."""
        self.check_weights("to be saved")
        super().save_model(output_dir, _internal_call)

    def check_run(self) -> None:
        """End the run if a term of its loss, a gradient or a weight is not finite; call it on all processes.

        Raises:
            NonFiniteError: naming the first step, the terms, the processes, and what to do.
        """
        names = self._watch.names
        weights = torch.atleast_1d(self._largest_weight().isfinite().logical_not_().long()).to(self.args.device)
        # One wait for all of it, and one message on all processes.
        table = self.accelerator.gather(torch.cat([weights, *self._watch.tensors(self.args.device)]))
        found = [row for row in table.view(-1, len(names) + 2).tolist()]
        told = self._watch.told([row[1:] for row in found])
        ruined = any(row[0] for row in found)
        if told is None and not ruined:
            return
        self._watch.clear()
        if told is None:
            told = f"the weights are not finite{self._named_weights()}, though the loss was. {_LOWER}"
        raise NonFiniteError(f"Training ends at step {self.state.global_step}: {told} {self._what_stays()}")

    def check_weights(self, when: str) -> None:
        """Make sure that the student and all else that is trained are finite; call it on all processes.

        Args:
            when: for the message.

        Raises:
            NonFiniteError: naming the tensors that are not.
        """
        if self._on_any_process(not bool(self._largest_weight().isfinite())):
            raise NonFiniteError(
                f"Weights are not finite {when}{self._named_weights()}; expected finite ones. Give a student or a "
                "checkpoint without NaN and infinite values."
            )

    def _on_any_process(self, found: bool) -> bool:
        """Return whether one of the processes found something; where each holds all, they find the same."""
        if not (self.backend_saves_model and self.is_prepared):
            return found
        flag = torch.tensor([int(found)], device=self.args.device)
        return bool(self.accelerator.gather(flag).any())

    def _what_stays(self) -> str:
        return f"Nothing of it was saved: checkpoints in {str(self.args.output_dir)!r} stay as they are."

    def local_weights(self) -> dict[str, Tensor]:
        """Weights and statistics of the trained module, of each the part that this process holds."""
        tensors = {
            name: _local(tensor)
            for name, tensor in self.distillation_objective.state_dict(keep_vars=True).items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point()
        }
        return {name: tensor for name, tensor in tensors.items() if tensor.numel()}

    def _largest_weight(self) -> Tensor:
        return get_total_norm(self.local_weights().values(), math.inf)

    def _named_weights(self) -> str:
        found = nonfinite(self.local_weights())
        return f" ({named(found)})" if found else ""


_LOWER = "Lower `learning_rate` or lengthen `warmup_steps`."


def _local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor that FSDP or ZeRO-3 may have split."""
    if isinstance(tensor, DTensor):
        return tensor.to_local().detach()
    if tensor.numel() == 0 and hasattr(tensor, "ds_tensor"):
        # ZeRO-3 leaves what it pads the last parts with as the memory was.
        part: Tensor = tensor.ds_tensor
        first = torch.distributed.get_rank(tensor.ds_process_group) * part.numel()  # type: ignore[attr-defined]
        tensor = part[: max(tensor.ds_numel - first, 0)]  # type: ignore[attr-defined]
    return tensor.detach()
