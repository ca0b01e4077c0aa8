"""The published student's folder: weights, processor and pictures."""

from pathlib import Path
from typing import Any

import torch

from exrep_hf.data import Preprocessing
from exrep_hf.report import plot_losses, plot_residuals
from exrep_hf.study.arms import Arm
from exrep_hf.trainer import DistillationTrainer

WITH_DISTILLER_NAME = "with_distiller"
LOSS_PICTURE = "loss.png"
RESIDUAL_PICTURE = "residual.png"
PICTURED_IMAGES = 8


def publish_student(
    trainer: DistillationTrainer, arm: Arm, record: dict[str, Any], preprocessing: Preprocessing, folder: Path
) -> None:
    """Write what `from_pretrained` loads, and the pictures of the run, into `folder`.

    A student whose distiller is removable, or that has none, is written as a plain classifier: it loads without this
    package. The one with its distiller then lies in the sub-folder `with_distiller`.
    """
    removable = arm.is_plain and trainer.student.input_distiller is not None
    trainer.save_model(str(folder / WITH_DISTILLER_NAME if removable else folder), _internal_call=True)
    student = trainer.whole_student()
    if not trainer.is_world_process_zero():
        return
    if arm.is_plain:
        student.without_distiller().save_pretrained(folder)
        preprocessing.to_image_processor().save_pretrained(folder)
    plot_losses(record["history"], folder / LOSS_PICTURE, f"{arm.name}, seed {record['seed']}")
    dataset: Any = trainer.eval_dataset
    rows = torch.linspace(0, len(dataset) - 1, min(PICTURED_IMAGES, len(dataset))).long().tolist()
    batch = trainer.data_collator([dataset[row] for row in rows])
    batch = {name: value.to(trainer.args.device) for name, value in batch.items()}
    answer = trainer.ask_teacher(batch, training=False).logits
    plot_residuals(
        student,
        None if answer is None else answer.argmax(-1).tolist(),
        batch["pixel_values"],
        batch["labels"].tolist() if "labels" in batch else None,
        preprocessing,
        folder / RESIDUAL_PICTURE,
    )
