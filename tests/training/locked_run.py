"""One of the processes of a run that goes on until it is ended: for `test_only_run.py`."""

import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from exrep_hf import DistillationArguments, DistillationTrainer, OnlineTeacher
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, image_rows, network


class Slow(TrainerCallback):
    """Leaves a mark after the first step, and then makes one step a tenth of a second."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Wait."""
        self.mark.touch()
        time.sleep(0.1)


def run(rank: int, folder: str, settings: dict[str, object]) -> None:
    """Train; a refusal is written to a file."""
    torch.manual_seed(2)
    args = DistillationArguments(
        output_dir=f"{folder}/out",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        num_negatives=8,
        embedding_dim=8,
        critic_hidden_dim=8,
        **EVERY_TERM | {"max_steps": 100_000} | settings,
    )
    trainer = DistillationTrainer(
        network(seed=3),
        OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor()),
        args,
        image_rows(24),
        augmentation=None,
        processing_class=PREPROCESSING.to_image_processor(),
        callbacks=[Slow(Path(folder) / f"started-{rank}")],
    )
    try:
        trainer.train()
    except ValueError as error:
        (Path(folder) / f"refused-{rank}").write_text(str(error))
