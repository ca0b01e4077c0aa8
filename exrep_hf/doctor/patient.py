"""A run that has not begun, and what its networks say about some training images."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from exrep_hf.data.checks import is_map_style
from exrep_hf.data.labels import class_of_most
from exrep_hf.data.pixels import STUDENT_PIXELS
from exrep_hf.data.seeding import generators_kept
from exrep_hf.doctor.pixel_moments import PixelMoments
from exrep_hf.outputs import TeacherOutput
from exrep_hf.training.class_look import rows_to_look_at
from exrep_hf.training.inputs import number_of, training_labels
from exrep_hf.training.launch import is_deepspeed
from exrep_hf.training.trainer import DistillationTrainer

_IMAGES, _FEWEST = 200, 100


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
        rows: of the images; none where they can't be chosen.
        pixels: moments of each set of pixels in the batches, by its name.
        runs: how many runs of this length there are: arms times seeds.
    """

    trainer: DistillationTrainer
    student: Tensor | None
    teacher: Tensor | None
    features: Tensor | None
    labels: Tensor
    teacher_is_ready: bool
    student_is_ready: bool
    rows: Sequence[int] = ()
    pixels: dict[str, PixelMoments] = field(default_factory=dict)
    runs: int = 1

    @classmethod
    def of(
        cls, trainer: DistillationTrainer, teacher_is_ready: bool, student_is_ready: bool, runs: int = 1
    ) -> "Patient":
        """Ask student and teacher about up to 200 training images."""
        ready, rows = (teacher_is_ready, student_is_ready), _rows(trainer)
        if not rows:
            return cls.unasked(trainer, *ready, runs)
        found: list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]] = []
        pixels: dict[str, PixelMoments] = {}
        with _evaluated(trainer):
            for batch in batches(trainer, rows):
                logits = trainer.student(pixel_values=batch[STUDENT_PIXELS]).logits.float().cpu()
                answer = trainer.ask_teacher(batch, training=True)
                found.append((logits, answer.logits, answer.features, _classes(batch.get("labels"), len(logits))))
                for name in batch:
                    if name.endswith(STUDENT_PIXELS):
                        pixels.setdefault(name, PixelMoments()).add(batch[name])
        columns = list(zip(*found, strict=True))
        joined = [None if part[0] is None else torch.cat([each.float().cpu() for each in part]) for part in columns]
        student, teacher, features = joined[:3]
        return cls(trainer, student, teacher, features, torch.cat(columns[3]), *ready, rows, pixels, runs)

    @classmethod
    def unasked(
        cls, trainer: DistillationTrainer, teacher_is_ready: bool, student_is_ready: bool, runs: int
    ) -> "Patient":
        """Return a run of whose networks nothing is known."""
        nothing = torch.empty(0, dtype=torch.int64)
        return cls(trainer, None, None, None, nothing, teacher_is_ready, student_is_ready, runs=runs)

    @property
    def teacher_labels(self) -> Tensor:
        """Class of each image by the numbers of `teacher`, `(images,)`, -1 where it has none there."""
        return self.trainer.classes.shared_numbers(self.labels)

    @property
    def student_knows(self) -> bool:
        """Whether the student is to know its classes before distillation: it has no new weights."""
        student = self.trainer.student
        return self.student_is_ready and not (student.starts_from_nothing or student.has_new_head)

    def ask_in_reverse(self) -> tuple[Tensor, TeacherOutput]:
        """Return the student's logits and the teacher's answer about the images with their channels in reverse."""
        logits, answers = [], []
        with _evaluated(self.trainer):
            for batch in batches(self.trainer, self.rows):
                turned = {name: value.flip(1) if name in self.pixels else value for name, value in batch.items()}
                logits.append(self.trainer.student(pixel_values=turned[STUDENT_PIXELS]).logits.float().cpu())
                answers.append(self.trainer.ask_teacher(turned, training=True).logits)
        of_teacher = None if answers[0] is None else torch.cat([each.cpu() for each in answers if each is not None])
        return torch.cat(logits), TeacherOutput(logits=of_teacher)


def batches(trainer: DistillationTrainer, rows: Sequence[int]) -> Iterator[dict[str, Tensor]]:
    """Return rows as batches on the device, normalised; not mixed, unless the items are mixtures themselves."""
    for start in range(0, len(rows), trainer.args.train_batch_size):
        part = rows[start : start + trainer.args.train_batch_size]
        yield trainer.batch_of([trainer.train_dataset[row] for row in part])  # type: ignore[index]


@contextlib.contextmanager
def _evaluated(trainer: DistillationTrainer) -> Iterator[None]:
    """The student on the device and in evaluation mode, without gradients; modes and generators end as they were."""
    student = trainer.student
    modes = [(module, module.training) for module in student.modules()]
    nn.Module.to(student, trainer.args.device).eval()
    try:
        with torch.no_grad(), generators_kept():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _rows(trainer: DistillationTrainer) -> list[int]:
    """Choose the images; none where they can't be chosen, or where the networks are DeepSpeed's to call."""
    dataset = trainer.train_dataset
    if not is_map_style(dataset) or not len(dataset) or is_deepspeed(trainer.args):  # type: ignore[arg-type]
        return []
    labels, size = training_labels(dataset), number_of(dataset) or 0
    rows = [] if labels is None else rows_to_look_at(labels)
    count = min(_IMAGES, size)
    # Of few classes ten images each are too few to score by.
    return rows if len(rows) >= min(count, _FEWEST) > 0 else (torch.arange(count) * size // count).tolist()


def _classes(labels: Tensor | None, count: int) -> Tensor:
    if labels is None:
        return torch.full((count,), -1)
    return (class_of_most(labels) if labels.is_floating_point() else labels).cpu()
