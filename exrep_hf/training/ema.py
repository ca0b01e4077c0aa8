"""A Trainer that publishes an exponential moving average of the student's weights.

While it trains, `student` holds the weights that are trained, and the average for as long as an evaluation or a save
takes; from the end of training on it is the average, for whoever asks.

What is taken here of the Trainer that is not public, and nowhere else:

- `_load_from_checkpoint`: the weights to go on from are not those that a checkpoint publishes.
- `_load_best_model`: what it loads is the average already.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timm.utils import ModelEmaV3
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput
from transformers.utils import SAFE_WEIGHTS_NAME

from exrep_hf.files import write_json
from exrep_hf.training.published import PublishingTrainer
from exrep_hf.training.saving import load_tensors, write_tensors

TRAINED_WEIGHTS_NAME = "trained_weights.safetensors"
"""In a checkpoint: the student's weights as they are trained; the average is its `model.safetensors`."""
AVERAGE_NAME = "weight_average.json"


class AveragingTrainer(PublishingTrainer):
    """Evaluates, chooses and saves an average of the student's weights, where `ema_decay` is given."""

    _average: ModelEmaV3 | None = None
    # Steps that the average has seen: those that a scaler of float16 left out are none.
    _averaged_steps = 0
    _scale = 0.0
    _shows_average = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.ema_decay is not None:
            # First: callbacks that save or evaluate have to find the average of the step that was just made.
            self.callback_handler.callbacks.insert(0, _AverageCallback(self))

    def begin(self) -> None:
        """Begin an average at the student, or go on with that of a checkpoint."""
        super().begin()
        if (decay := self.args.ema_decay) is None:
            return
        self._average, self._averaged_steps = ModelEmaV3(self.student, decay, use_warmup=True), 0
        self._scale = self._loss_scale()
        if self._checkpoint is not None:
            self._average.module.load_state_dict(load_tensors(self._checkpoint, SAFE_WEIGHTS_NAME))
            self._averaged_steps = _read_steps(Path(self._checkpoint))
        if self.is_world_process_zero():
            steps = self.state.max_steps
            print(
                f"evaluated and saved is an average of the student's weights: its decay reaches "
                f"{self._average.get_decay(steps):.4g} in {steps} steps (`ema_decay` {decay:g} is the most)",
                flush=True,
            )

    def update_average(self) -> None:
        """Let the average follow an optimizer step, if one was made."""
        if self._average is not None and self._step_was_made():
            self._averaged_steps += 1
            self._average.update(self.student, self._averaged_steps)

    def _step_was_made(self) -> bool:
        # A fused optimizer leaves a step out by itself, of which accelerate knows nothing; the scale falls each time.
        last, self._scale = self._scale, self._loss_scale()
        return self._scale >= last and not self.accelerator.optimizer_step_was_skipped

    def _loss_scale(self) -> float:
        scaler = self.accelerator.scaler
        return 1.0 if scaler is None else scaler.get_scale()

    def end_average(self) -> None:
        """Make the student the average for good: training is over."""
        if self._average is not None:
            self.student.load_state_dict(self._average.module.state_dict())
            self._average = None

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the student hold the average; where there is none, or it does already, it stays as it is."""
        if self._average is None or self._shows_average:
            yield
            return
        # Values are copied: DeepSpeed and compiled code know the tensors themselves.
        trained = {name: value.clone() for name, value in self.student.state_dict().items()}
        self._shows_average = True
        try:
            self.student.load_state_dict(self._average.module.state_dict())
            yield
        finally:
            self.student.load_state_dict(trained)
            self._shows_average = False

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the Trainer does; afterwards the student is the average, also where training was interrupted."""
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self.end_average()

    # What is evaluated and saved

    @contextlib.contextmanager
    def around_evaluation(self) -> Iterator[None]:
        """Evaluate the average."""
        with self.averaged(), super().around_evaluation():
            yield

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the average."""
        with self.averaged():
            super().save_model(output_dir, _internal_call)

    def save_published(self, output_dir: str | None = None) -> None:
        """Write the average as it is published; call it on all processes."""
        with self.averaged():
            super().save_published(output_dir)

    # Checkpoints

    def write_additions(self, checkpoint: str) -> None:
        """Write the weights that are trained, too, and how many steps the average has seen."""
        super().write_additions(checkpoint)
        if self._average is None or not self.args.should_save:
            return
        write_json({"steps": self._averaged_steps}, Path(checkpoint) / AVERAGE_NAME)
        # DeepSpeed writes those that are trained itself.
        if not self.backend_saves_model:
            write_tensors(self.student.state_dict(), checkpoint, TRAINED_WEIGHTS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.args.ema_decay is None or self.backend_saves_model:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.load_student(resume_from_checkpoint, TRAINED_WEIGHTS_NAME)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self._average is not None:
            # DeepSpeed has loaded what was trained.
            self.load_student(str(self.state.best_model_checkpoint))
            self._average = None


def _read_steps(checkpoint: Path) -> int:
    path = checkpoint / AVERAGE_NAME
    if not path.is_file():
        raise ValueError(
            f"The checkpoint {str(checkpoint)!r} has no {AVERAGE_NAME!r}; expected that of a run with `ema_decay`. "
            "Resume without `ema_decay`, or start again in another `output_dir`."
        )
    steps: int = json.loads(path.read_text(encoding="utf-8"))["steps"]
    return steps


class _AverageCallback(TrainerCallback):
    """Tells the trainer of each step of its optimizer, and of the last one."""

    def __init__(self, trainer: AveragingTrainer) -> None:
        self._trainer = trainer

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the trainer."""
        self._trainer.update_average()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the trainer, before others take its student for the trained one."""
        self._trainer.end_average()
