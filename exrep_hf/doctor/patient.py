"""A run that has not begun, and what its networks say about some training images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exrep_hf.data.checks import is_map_style
from exrep_hf.data.labels import class_of_most
from exrep_hf.data.seeding import generators_kept
from exrep_hf.training.class_look import rows_to_look_at
from exrep_hf.training.inputs import training_labels
from exrep_hf.training.trainer import DistillationTrainer

_IMAGES = 200


@dataclass(frozen=True)
class Patient:
    """What the checks look at.

    Attributes:
        trainer: of the method, before its first step.
        student: logits about training images as they come from the pipeline, not mixed, `(images, num_labels)`,
            float32; None where images can't be chosen (a stream).
        teacher: its logits in the student's order, of the shared classes, `(images, classes)`; None where it has
            none, or isn't asked.
        features: the teacher's, `(images, teacher_dim)`; None where it isn't asked for them.
        labels: class of each image by the student's numbers, `(images,)`, -1 where there is none.
        teacher_is_ready: whether the teacher is the one that will be asked: not still to be trained or given a head.
        student_is_ready: whether the student is the one that distillation starts from.
    """

    trainer: DistillationTrainer
    student: Tensor | None
    teacher: Tensor | None
    features: Tensor | None
    labels: Tensor
    teacher_is_ready: bool
    student_is_ready: bool

    @classmethod
    def of(cls, trainer: DistillationTrainer, teacher_is_ready: bool, student_is_ready: bool) -> "Patient":
        """Ask student and teacher about up to 200 training images."""
        ready, nothing = (teacher_is_ready, student_is_ready), torch.empty(0, dtype=torch.int64)
        dataset = trainer.train_dataset
        if not is_map_style(dataset) or not len(dataset):  # type: ignore[arg-type]
            return cls(trainer, None, None, None, nothing, *ready)
        labels = training_labels(dataset)
        rows = [] if labels is None else rows_to_look_at(labels)
        count = min(_IMAGES, len(dataset))  # type: ignore[arg-type]
        rows = rows or (torch.arange(count) * len(dataset) // count).tolist()  # type: ignore[arg-type]
        student = trainer.student
        was_training, found = student.training, []
        nn.Module.to(student, trainer.args.device).eval()
        try:
            with torch.no_grad(), generators_kept():
                for start in range(0, len(rows), trainer.args.train_batch_size):
                    part = rows[start : start + trainer.args.train_batch_size]
                    batch = trainer.batch_of([dataset[row] for row in part])  # type: ignore[index]
                    logits = student(pixel_values=batch["pixel_values"]).logits.float().cpu()
                    answer = trainer.ask_teacher(batch, training=True)
                    found.append((logits, answer.logits, answer.features, _classes(batch.get("labels"), len(part))))
        finally:
            student.train(was_training)
        columns = list(zip(*found, strict=True))
        joined = [None if part[0] is None else torch.cat([each.float().cpu() for each in part]) for part in columns]
        return cls(trainer, joined[0], joined[1], joined[2], torch.cat(columns[3]), *ready)


def _classes(labels: Tensor | None, count: int) -> Tensor:
    if labels is None:
        return torch.full((count,), -1)
    return (class_of_most(labels) if labels.is_floating_point() else labels).cpu()
