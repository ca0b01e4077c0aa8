"""One of two processes that are about to train different things: for `test_agreement.py`."""

import json
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, TensorRows, image_rows, network

SETTINGS = {"seed": 5, "kd_weight": 0.5, "learning_rate": 0.5, "save_steps": 3, "max_steps": 3, "data_seed": 7}
THINGS = ("images", "order", "classes", "teacher", "student", "critic", "frozen", "evaluation")
CASES = ("same", *SETTINGS, *THINGS, "two at once")


def images_of(case: str) -> datasets.Dataset:
    images = image_rows(25 if case == "images" else 24)
    if case == "classes":
        return images.map(lambda row: {"label": (row["label"] + 1) % 4})
    return images.select(reversed(range(24))) if case == "order" else images


def trainer_of(case: str, folder: Path) -> DistillationTrainer:
    """Return this process's trainer: the usual one, or one that differs in what the case says."""
    changes: dict[str, Any] = {case: SETTINGS[case]} if case in SETTINGS else {}
    if case == "two at once":
        changes = {"temperature": 2.0, "momentum": 0.9}
    args = DistillationArguments(
        output_dir=str(folder / "out"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="steps",
        per_device_train_batch_size=4,
        num_negatives=8,
        embedding_dim=8,
        critic_hidden_dim=8,
        **EVERY_TERM | {"max_steps": 2, "learning_rate": 1e-2} | changes,
    )
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(
        network(seed=4 if case == "student" else 3), distiller="light", distiller_channels=4, image_size=16
    )
    if case == "frozen":
        student.classifier.requires_grad_(False)
    trainer = DistillationTrainer(
        student,
        OnlineTeacher(network(seed=6 if case == "teacher" else 1, width=12), PREPROCESSING.to_image_processor()),
        args,
        images_of(case),
        TensorRows(6 if case == "evaluation" else 5),
        augmentation=None,
        processing_class=PREPROCESSING.to_image_processor(),
    )
    if case == "critic":
        adversarial = trainer.distillation_objective.adversarial
        assert adversarial is not None
        torch.nn.init.zeros_(next(adversarial.critic.parameters()))
    return trainer


def run(rank: int, folder: str) -> None:
    """Write what each case says on this process."""
    said = {}
    for case in CASES:
        trainer = trainer_of(case if rank == 1 else "same", Path(folder))
        try:
            trainer.train()
            # The second time, what a process holds is what training left.
            trainer.train()
            said[case] = ""
        except ValueError as error:
            said[case] = str(error)
    (Path(folder) / f"said-{rank}.json").write_text(json.dumps(said))
    PartialState().destroy_process_group()
