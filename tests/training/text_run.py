"""What each process of a test of a head from class names runs: trained under without labels, and resumed."""

from pathlib import Path

import torch
from accelerate import PartialState

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import Augmentation
from tests.training.conftest import PREPROCESSING, image_rows, network

NAMES = ["cat", "dog", "bird"]


def trainer_of(out: Path, towers: str, prompts: list[str] | None = None) -> DistillationTrainer:
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
    backbone = network(seed=3, num_labels=3)
    backbone.config.id2label = {number: f"LABEL_{number}" for number in range(3)}
    student = ExRepForImageClassification.from_backbone(backbone)
    # As where a checkpoint has other classes, or none.
    student.has_new_head = True
    return DistillationTrainer(
        student,
        towers,
        args,
        image_rows(21).remove_columns("label"),
        image_rows(10).remove_columns("label"),
        Augmentation(scale=(0.5, 1.0)),
        PREPROCESSING.to_image_processor(),
        teacher_head="text",
        class_names=NAMES,
        prompts=prompts,
    )


def run(rank: int, folder: str) -> None:
    """Write the head of each process, and the student of a run, and of one that goes on from a checkpoint."""
    out = Path(folder) / "out"
    whole = trainer_of(out, f"{folder}/towers")
    whole.train()
    resumed = trainer_of(out, f"{folder}/towers")
    resumed.train(resume_from_checkpoint=str(out / "checkpoint-1"))
    found = []
    for trainer in (whole, resumed):
        assert trainer.headed is not None
        found.append((trainer.headed._tensors(), trainer.student.state_dict()))
    torch.save(found, Path(folder) / f"found-{rank}.pt")
    if PartialState().num_processes > 1:
        PartialState().destroy_process_group()
