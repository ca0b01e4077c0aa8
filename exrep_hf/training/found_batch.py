"""Batch sizes that the Trainer finds by trying (`auto_find_batch_size`).

Of the Trainer `_train_batch_size` is read here, `_update_auto_batch_size` is where an attempt begins, and
`_init_training_state` where it has read a checkpoint; none of them is public.
"""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from exrep_hf.data.datasets import SeededDataset
from exrep_hf.training.inputs import set_length_of_epoch
from exrep_hf.training.optimizer import GroupingTrainer
from exrep_hf.training.same_run import SETTINGS


class FoundBatchTrainer(GroupingTrainer):
    """Trains with a batch that was found as with one that was given, and says which one it is.

    The Trainer tries the next smaller batch with the student, memory bank and optimizer that the last attempt left.
    """

    _start: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the Trainer does; a found batch counts from the first step on."""
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self._start = None

    def _update_auto_batch_size(self, batch_size: int) -> None:
        """Begin an attempt where the first one began, unless the parameters lie in parts."""
        super()._update_auto_batch_size(batch_size)
        if isinstance(self.train_dataset, SeededDataset):
            set_length_of_epoch(self.train_dataset, self.args, batch_size)
        if (contrast := self.distillation_objective.crd) is not None:
            contrast.largest_batch = batch_size
        if self.backend_saves_model:
            return
        if self._start is None:
            auxiliary = self.distillation_objective.auxiliary_state()
            self._start = _copy(self.student.state_dict()), _copy(auxiliary)
            return
        student, auxiliary = self._start
        self.student.load_state_dict(student)
        self.distillation_objective.load_auxiliary_state(auxiliary)
        if self._given_optimizer is None:
            self.optimizer = None

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        """Keep the batch of a checkpoint: its place in the data is counted in batches.

        Raises:
            ValueError: if this batch does not fit the memory.
        """
        place = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        batch, written = self._train_batch_size, self.state.train_batch_size
        if resume_from_checkpoint is not None and self.args.auto_find_batch_size and written not in (None, batch):
            raise ValueError(
                f"A batch of {written} images, with which {resume_from_checkpoint!r} was written, does not fit the "
                f"memory, and a smaller one is another run. Resume on the device it was begun on, with "
                f"`per_device_train_batch_size` and `gradient_accumulation_steps` that multiply to as many images, or "
                "start again."
            )
        self.state.train_batch_size = batch
        return place

    def facts_on_resuming(self, checkpoint: Path, written: dict[str, Any]) -> dict[str, Any]:
        """Return the facts with the batch that the Trainer takes from the checkpoint."""
        facts, path = super().facts_on_resuming(checkpoint, written), checkpoint / TRAINER_STATE_NAME
        if not self.args.auto_find_batch_size or not path.is_file():
            return facts
        if SETTINGS not in written:
            # Older releases wrote the batch that was tried first.
            return facts | {"images_per_step": written.get("images_per_step")}
        batch = TrainerState.load_from_json(str(path)).train_batch_size or self._train_batch_size
        return facts | {"images_per_step": facts["images_per_step"] // self._train_batch_size * batch}

    def begin(self) -> None:
        """Take note of the batch; say where it is not the one that was given."""
        super().begin()
        images = self.get_total_train_batch_size(self.args)
        self._facts["images_per_step"] = images
        given = images // self._train_batch_size * self.args.train_batch_size
        if images != given and self.is_world_process_zero():
            print(
                f"{images} images a step fit the memory, not {given}: learning rate {self.args.learning_rate:g} and "
                f"{self.state.max_steps} steps stay those of {given}; `per_device_train_batch_size` "
                f"{self._train_batch_size} chooses them anew where they are not given",
                flush=True,
            )


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # In the host's memory: the device's is what is missing.
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
