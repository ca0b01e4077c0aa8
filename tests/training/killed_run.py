"""A small run with everything that has to be resumed, as one of several processes: what `test_killed.py` kills."""

import json
from pathlib import Path
from typing import Any

import torch

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import Augmentation
from exrep_hf.training.checkpoints import last_whole_checkpoint
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, image_rows, network

STEPS = 40


def run(rank: int, folder: str, processes: int) -> None:
    """Train, from the last whole checkpoint where there is one, and write the history and all that was trained."""
    out = Path(folder) / "out"
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(
        network(seed=3), distiller="light", distiller_channels=4, image_size=16
    )
    trainer = DistillationTrainer(
        student,
        OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor()),
        DistillationArguments(
            output_dir=str(out),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=1,
            max_steps=STEPS,
            per_device_train_batch_size=4 // processes,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            critic_learning_rate=1e-3,
            num_negatives=8,
            embedding_dim=8,
            critic_hidden_dim=8,
            distiller_share=0.5,
            ema_decay=0.9,
            **EVERY_TERM,
        ),
        # 22 images: the last batch of an epoch is not full.
        image_rows(22),
        augmentation=Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1"),
        processing_class=PREPROCESSING.to_image_processor(),
    )
    assert trainer.args.world_size == processes
    checkpoint = last_whole_checkpoint(str(out))
    (Path(folder) / f"started-{rank}").touch()
    trainer.train(resume_from_checkpoint=checkpoint)
    state = trainer.distillation_objective.state_dict() | trainer.distillation_objective.auxiliary_state()
    torch.save({name: value.clone() for name, value in state.items()}, Path(folder) / f"state-{rank}.pt")
    history = [_losses(entry) for entry in trainer.state.log_history if "loss" in entry]
    (Path(folder) / f"history-{rank}.json").write_text(json.dumps(history))


def _losses(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name.startswith(("loss", "step", "grad", "learning"))}
