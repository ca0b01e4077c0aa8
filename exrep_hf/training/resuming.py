"""A Trainer whose interrupted runs end as uninterrupted ones do.

What is taken here of the Trainer and of accelerate that is not public, and nowhere else:

- `_init_training_state`: the place to go on from is decided there; a run whose steps are all done would make one more.
- `_save_checkpoint`: a checkpoint has to be declared whole after all of it is written, and before it is pushed or an
  older one goes. `_get_output_dir` and `_push_from_checkpoint` are called for it.
- `_tr_loss`, `_globalstep_last_logged`, `_total_loss_scalar`: what was gathered since the last log, and is not in the
  Trainer's checkpoints.
- `_load_optimizer_and_scheduler`: where a state that does not fit is found by PyTorch.
- `_is_accelerate_prepared`: the mark of a model that evaluation prepared, which training would then not wrap; and
  `_models` and `_dataloaders`, where accelerate keeps what it prepared (`free_memory` also collects garbage, for a
  second).
"""

import contextlib
import json
import pickle
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    EvalLoopOutput,
    SaveStrategy,
    TrainOutput,
    rotate_checkpoints,
)

from exrep_hf.data.seeding import seed_of
from exrep_hf.main_process import decided_by_main
from exrep_hf.training.agreement import check_processes_agree, settings_in_step
from exrep_hf.training.checkpoints import (
    check_weights,
    discard,
    last_whole_checkpoint,
    read_manifest,
    write_manifest,
)
from exrep_hf.training.distributed import broadcast_batch_statistics
from exrep_hf.training.only_run import only_run_in
from exrep_hf.training.same_run import SETTINGS, check_same_run, settings_of_run


class ResumableTrainer(Trainer):
    """Resumes from whole checkpoints alone, in the same run alone, with steps that draw what they would have drawn.

    The Trainer writes a checkpoint file by file under its final name, takes the newest folder when resuming, whatever
    is in it, and goes on with any data set or number of processes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seeded_step, self._batch_of_step = -1, 0
        # By the Trainer none is made yet.
        self._given_optimizer = None if self.optimizer is None else type(self.optimizer).__name__
        self._facts: dict[str, Any] = {}
        self._checkpoint: str | None = None
        self.is_prepared = False
        self.add_callback(_BeginCallback(self))

    def run_facts(self) -> dict[str, Any]:
        """Return what a run has to share with the one whose checkpoint it goes on from, of JSON types."""
        args = self.args
        return {
            "processes": args.world_size,
            "images_per_step": self.get_total_train_batch_size(args),
            "seed": args.seed,
            "optimizer": self._given_optimizer,
            SETTINGS: settings_of_run(args),
        }

    def start_facts(self) -> dict[str, Any]:
        """Return what else has to be the same on all processes when a training starts, of JSON types."""
        sets = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"images": self.eval_dataset}
        images = {name: len(part) for name, part in sets.items() if isinstance(part, Sized)}
        return {"evaluation": images, "moments": settings_in_step(self.args)}

    @property
    def backend_saves_model(self) -> bool:
        """Whether FSDP or DeepSpeed holds the parameters, and writes and reads all of the trained module."""
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def whole_state_dict(self) -> dict[str, Tensor] | None:
        """Return the trained module's state, put together where it is in parts; call it on all processes.

        Returns:
            Tensors by name; None on processes that need not hold it (with FSDP and ZeRO-3, all but the first).
        """
        wrapped = self.model_wrapped
        prepared = self.backend_saves_model and wrapped is not None
        return self.accelerator.get_state_dict(wrapped if prepared else self.model) or None

    @contextlib.contextmanager
    def _whole_model_left_whole(self) -> Iterator[None]:
        """Evaluate a model that no backend has split as it is: ZeRO-1 and 2 refuse to, FSDP2 wants an optimizer."""
        flags = self.is_deepspeed_enabled, self.is_fsdp_enabled
        untouched = not self.is_prepared
        if untouched:
            self.is_deepspeed_enabled = self.is_fsdp_enabled = False
            assert isinstance(self.model, nn.Module)
            nn.Module.to(self.model, self.args.device)
        try:
            yield
        finally:
            self.is_deepspeed_enabled, self.is_fsdp_enabled = flags
            if untouched:
                # As it was before: it would count as wrapped, and be trained on each process alone.
                self.model_wrapped = self.model  # type: ignore[assignment]
                self.accelerator._models.clear()
                self.accelerator._dataloaders.clear()
                self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
                vars(self.model).pop("_is_accelerate_prepared", None)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as the Trainer does, on every backend, also before training; no generator moves."""
        with self.around_evaluation():
            self.begin_evaluation()
            # Negatives are drawn in evaluation too: always the same, and training goes on as if it had not been.
            with torch.random.fork_rng(self.random_devices), self._whole_model_left_whole():
                torch.manual_seed(self.args.seed)
                output = super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
            assert output.metrics is not None
            self.finish_evaluation(output.metrics)
        return output

    @contextlib.contextmanager
    def around_evaluation(self) -> Iterator[None]:
        """What holds for as long as an evaluation takes, on all processes."""
        yield

    def begin_evaluation(self) -> None:
        """What each evaluation begins with, on all processes."""

    def finish_evaluation(self, metrics: dict[str, float]) -> None:
        """Look at the figures of an evaluation, on all processes."""

    @property
    def random_devices(self) -> list[torch.device]:
        """Devices, beside the CPU, whose generator a step or an evaluation may move."""
        return [self.args.device] if self.args.device.type == "cuda" else []

    def prepare_training(self) -> None:
        """What each call of `train` begins with, on all processes."""
        # Here, on all processes: data that can't be read must not stop one of them at its first checkpoint.
        self._facts = self.run_facts()
        check_processes_agree(self._facts | self.start_facts())

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the Trainer does; `True` takes the newest whole checkpoint of `output_dir`.

        Raises:
            ValueError: if the checkpoint is not whole, of another run or not finite, or if there is none; if another
                run is at work in `output_dir`, or if the processes would train different things.
        """
        self.prepare_training()
        saves = self.args.save_strategy != SaveStrategy.NO
        # A run that saves nothing disturbs none.
        with only_run_in(Path(str(self.args.output_dir))) if saves else contextlib.nullcontext():
            self._checkpoint = decided_by_main(lambda: self._whole_checkpoint(resume_from_checkpoint))
            self.prepare_teacher(self._checkpoint)
            return super().train(self._checkpoint, trial, ignore_keys_for_eval)

    def prepare_teacher(self, checkpoint: str | None) -> None:
        """What a teacher needs before the first step, from a checkpoint or anew; called on all processes."""

    def begin(self) -> None:
        """Take note that the backend holds the model, and go on with the logging window of a checkpoint."""
        self.is_prepared = True
        self._seeded_step = -1
        path = None if self._checkpoint is None else _window_file(self._checkpoint, self.args.process_index)
        if path is not None and path.is_file():
            window = json.loads(path.read_text())
            # What other processes had gathered is a mean over other images.
            if window["processes"] == self.args.world_size:
                self.restore_logging_window(window)

    def _whole_checkpoint(self, asked: str | bool | None) -> str | None:
        if not asked:
            return None
        checkpoint = last_whole_checkpoint(str(self.args.output_dir)) if asked is True else str(asked)
        if checkpoint is None:
            raise ValueError(
                f"`resume_from_checkpoint` is {asked}, but {self.args.output_dir!r} holds no whole checkpoint. Start "
                "without it, or give the folder of a checkpoint."
            )
        written = read_manifest(Path(checkpoint))
        check_same_run(checkpoint, written, self.facts_on_resuming(Path(checkpoint), written))
        check_weights(Path(checkpoint))
        return checkpoint

    def facts_on_resuming(self, checkpoint: Path, written: dict[str, Any]) -> dict[str, Any]:
        """Return the facts that this run has if it goes on from a checkpoint, whose facts are `written`."""
        return self._facts

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Say in one sentence what the optimizer finds wrong with a state."""
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except (ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            if should_reduce_batch_size(error):
                raise
            raise ValueError(
                f"The optimizer and scheduler in {checkpoint!r} don't fit this run's or can't be read ({error}). "
                "Resume with the optimizer, schedule, trained parameters and `critic_learning_rate` that the "
                "checkpoint was written with, or from an earlier checkpoint."
            ) from error

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        """Find the place to go on from: behind the last epoch where all steps are done, or one more would be."""
        place = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        return (num_train_epochs, 0) if self.state.global_step >= max_steps else place

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Train on a batch; what is random in it depends on seed, step and process alone, and no generator moves."""
        step = self.state.global_step
        self._batch_of_step = self._batch_of_step + 1 if self._seeded_step == step else 0
        self._seeded_step = step
        entropy = [self.args.seed, step, self._batch_of_step, self.args.process_index]
        with torch.random.fork_rng(self.random_devices):
            torch.manual_seed(seed_of(entropy))
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            broadcast_batch_statistics(model)
        return loss

    def logging_window(self) -> dict[str, Any]:
        """Return what this process has gathered since the last log, of JSON types."""
        window = {"loss": self._tr_loss.item(), "last_logged": self._globalstep_last_logged}
        return window | {"processes": self.args.world_size}

    def restore_logging_window(self, window: dict[str, Any]) -> None:
        """Go on with what `logging_window` gave, so that the next log is a mean over all of its steps."""
        self._tr_loss.fill_(window["loss"])
        self._globalstep_last_logged = window["last_logged"]
        # The loss of the whole training is one of the steps since it was resumed.
        self._total_loss_scalar -= window["loss"]

    def write_additions(self, checkpoint: str) -> None:
        """Write what a checkpoint holds beside the Trainer's own files, on all processes."""
        _window_file(checkpoint, self.args.process_index).write_text(json.dumps(self.logging_window()))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint, declare it whole, and only then let older ones go."""
        folder = self._get_output_dir(trial=trial)
        checkpoint = Path(folder) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            # Left by an interrupted run, whose files would count as this one's.
            discard(checkpoint)
        self.accelerator.wait_for_everyone()
        limit, push = self.args.save_total_limit, self.args.push_to_hub
        # The Trainer would do both before the checkpoint is whole.
        self.args.save_total_limit, self.args.push_to_hub = None, False
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit, self.args.push_to_hub = limit, push
        if not self.args.save_only_model:
            self.write_additions(str(checkpoint))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_manifest(checkpoint, self._facts)
        self.accelerator.wait_for_everyone()
        if push:
            self._push_from_checkpoint(str(checkpoint))
        if self.args.should_save:
            rotate_checkpoints(folder, limit, best_model_checkpoint=self.state.best_model_checkpoint, use_mtime=True)


class _BeginCallback(TrainerCallback):
    """Calls the trainer when its model is prepared, the checkpoint is loaded, and the first step is next."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the trainer."""
        self._trainer.begin()


def _window_file(checkpoint: str, process: int) -> Path:
    return Path(checkpoint) / f"logging_window_{process}.json"
