"""What a Trainer asks its teacher: at each step, and before the first one to know what to make of the answers."""

from typing import Any

import torch
from torch import Tensor

from exrep_hf.data import ClassMap
from exrep_hf.data.mixing import Mixing
from exrep_hf.main_process import print_once
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import ProbedTeacher, compile_source
from exrep_hf.teacher.feature_moments import stored_statistics
from exrep_hf.training.class_look import look_at_answers, rows_to_look_at, told
from exrep_hf.training.feature_statistics import collect_moments
from exrep_hf.training.inputs import number_of, training_labels
from exrep_hf.training.teacher_head import TeacherHeadTrainer


class AskingTrainer(TeacherHeadTrainer):
    """Asks the teacher about batches as training and evaluation have them; looks at its first answers."""

    classes: ClassMap
    _mixing: Mixing
    _temperature: float

    @property
    def answers_are_stored(self) -> bool:
        """Whether the teacher has answers to training images alone."""
        return self.teacher is not None and self.teacher.views is not None

    def ask_teacher(self, batch: dict[str, Tensor], training: bool) -> TeacherOutput:
        """Get the teacher's answer; an empty one where it is not needed or not available."""
        wanted = self.args.needs_teacher if training else not self.answers_are_stored
        if self.teacher is None or not wanted:
            return TeacherOutput()
        self._data.pixels.check_shared(batch, "the batch")
        # The Trainer's autocast covers the trained module alone.
        with torch.no_grad(), self.accelerator.autocast():
            answer = self.teacher(batch, temperature=self._temperature)
        if answer.logits is None or not self.classes.has_teacher:
            return TeacherOutput(features=answer.features)
        return TeacherOutput(logits=self.classes.in_students_order(answer.logits), features=answer.features)

    def batch_of(self, items: list[Any]) -> dict[str, Tensor]:
        """Return a batch of items on the device, as models take it."""
        batch = {name: value.to(self.args.device) for name, value in self.data_collator(items).items()}
        return self._data.normalising(batch)

    def mixed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a training batch as student and teacher see it."""
        if not self._mixing:
            return batch
        # Labels that nothing looks at need not be mixed, nor be classes at all.
        looked_at = batch if self.args.needs_labels else {key: batch[key] for key in batch.keys() - {"labels"}}
        return self._mixing(looked_at, self._data.num_labels)

    def prepare_training(self) -> None:
        """Compile the teacher where the student is compiled; say how it does."""
        super().prepare_training()
        if self.args.torch_compile and self.teacher is not None:
            compile_source(self.teacher, self.args.torch_compile_backend, self.args.torch_compile_mode)
        self._look_at_teacher()

    def begin(self) -> None:
        """Learn how the teacher's features are distributed, unless a checkpoint knows."""
        super().begin()
        feature = self.distillation_objective.feature
        if feature is None:
            return
        if self._checkpoint is None:
            feature.set_statistics(*self._feature_statistics())
        feature.is_standardised = True

    def _feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the teacher's features, the same on all processes."""
        args, dim = self.args, self.teacher.feature_dim if self.teacher is not None else None
        assert self.teacher is not None and dim is not None
        stored = stored_statistics(self.teacher, number_of(self.train_dataset) or 1)
        if stored is not None:
            return stored
        share = (args.train_batch_size, args.seed, args.process_index, args.world_size)
        moments = collect_moments(self.train_dataset, dim, self._features_of_items, *share)
        if args.world_size > 1:
            moments.sums = self.accelerator.gather(moments.sums[None].to(args.device)).sum(0).cpu()
        return moments.statistics()

    def _features_of_items(self, items: list[Any]) -> Tensor:
        """Return the teacher's features of training images, `(batch, feature_dim)`, mixed as in training."""
        features = self.ask_teacher(self.mixed(self.batch_of(items)), training=True).features
        assert features is not None
        return features

    def _look_at_teacher(self) -> None:
        """Say how the teacher does on some training images, as it will be asked about them, or refuse it."""
        # The classes of a head that was fitted on them are what they are called.
        is_fitted, labels = isinstance(self.teacher, ProbedTeacher), training_labels(self.train_dataset)
        if not self.args.needs_logits or self.teacher is None or labels is None or is_fitted:
            return
        labels = self.classes.shared_numbers(labels)
        rows = rows_to_look_at(labels)
        look = look_at_answers(rows, labels, self._answers_of_rows, self.args.train_batch_size) if rows else None
        message = told(look, self.classes.num_shared)
        if self.is_world_process_zero():
            print_once(message)

    def _answers_of_rows(self, rows: list[int]) -> tuple[Tensor, Tensor | None]:
        """Return the teacher's logits about training images, and their labels, of the classes that both have."""
        batch = self.batch_of([self.train_dataset[row] for row in rows])  # type: ignore[index]
        logits = self.ask_teacher(batch, training=True).logits
        assert logits is not None
        labels = batch.get("labels")
        # Only shares of mixed images are looked at, by class.
        is_shares = labels is not None and labels.is_floating_point()
        return logits, self.classes.shared_by_student(labels) if is_shares else labels  # type: ignore[arg-type]
