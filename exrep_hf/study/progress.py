"""Progress bars of a study: named, and gone when their part is, so that the study's own lines stay together."""

from typing import Any, cast

from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length


class StageProgress(ProgressCallback):
    """The Trainer's bars under a name; none where no terminal would show them.

    Args:
        name: of the part of the study.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar of the training, on the main process."""
        self.current_step = 0
        if state.is_world_process_zero:
            self.training_bar = self._bar(state.max_steps, self.name)

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Open the bar of an evaluation, or move it, on the main process."""
        if state.is_world_process_zero and has_length(eval_dataloader):
            if self.prediction_bar is None:
                self.prediction_bar = self._bar(len(eval_dataloader), f"{self.name}, evaluation")
            cast(Any, self.prediction_bar).update(1)

    @staticmethod
    def _bar(total: int, name: str) -> Any:
        # `disable=None`: only on a terminal.
        return tqdm(total=total, desc=name, leave=False, dynamic_ncols=True, disable=None)


def show_progress(trainer: Trainer, name: str) -> None:
    """Put named bars into the place of the Trainer's own, if it has any (`disable_tqdm`; notebooks have others)."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(StageProgress(name))
