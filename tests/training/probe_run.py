"""What each process of a test of the teacher's head runs: it is fitted, trained under, and resumed with."""

from pathlib import Path

import torch
from accelerate import PartialState

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import Augmentation
from tests.training.conftest import PREPROCESSING, image_rows, network

IMAGES = 21


def trainer_of(out: Path) -> DistillationTrainer:
    args = DistillationArguments(
        output_dir=str(out),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="steps",
        save_steps=1,
        max_steps=2,
        learning_rate=0.01,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=3,
    )
    torch.manual_seed(2)
    return DistillationTrainer(
        ExRepForImageClassification.from_backbone(network(seed=3)),
        OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor()),
        args,
        image_rows(IMAGES),
        image_rows(10),
        Augmentation(scale=(0.5, 1.0)),
        PREPROCESSING.to_image_processor(),
        teacher_head="probe",
    )


def run(rank: int, folder: str) -> None:
    """Write the head of each process, and that of a run that goes on from a checkpoint."""
    whole = trainer_of(Path(folder) / "out")
    whole.train()
    resumed = trainer_of(Path(folder) / "out")
    resumed.train(resume_from_checkpoint=str(Path(folder) / "out" / "checkpoint-1"))
    found = []
    for trainer in (whole, resumed):
        assert trainer.probed is not None and trainer.probed.head is not None
        head = trainer.probed.head
        found.append((head.weight, head.bias, head.accuracy, trainer.student.state_dict()))
    torch.save(found, Path(folder) / f"found-{rank}.pt")
    if PartialState().num_processes > 1:
        PartialState().destroy_process_group()
