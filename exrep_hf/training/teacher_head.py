"""Which head a teacher gets, and a Trainer that fits it before the first step."""

import functools
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data import ClassMap
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.datasets import SeededDataset
from exrep_hf.data.seeding import generators_kept
from exrep_hf.main_process import decided_by_main
from exrep_hf.models import ExRepForImageClassification
from exrep_hf.teacher import (
    FeaturesOnly,
    ProbedTeacher,
    TeacherSource,
    TextClasses,
    TextTeacher,
    fitted_head,
)
from exrep_hf.teacher.head import HeadTeacher, source_of
from exrep_hf.teacher.head_file import HEAD_NAME, load_head, load_text_head
from exrep_hf.teacher.text_head import text_fingerprint
from exrep_hf.training.asked_views import AskedViews
from exrep_hf.training.classes import names_of_data
from exrep_hf.training.components import ComponentTrainer
from exrep_hf.training.inputs import DataPreparation
from exrep_hf.training.machine import loader_workers
from exrep_hf.training.probe_images import (
    ProbeImages,
    check_two_classes,
    fitted_probe,
    labels_to_fit_on,
    may_have_labels,
    unvaried,
)
from exrep_hf.training.probe_look import (
    COMPARED_IMAGES,
    Comparison,
    right_answers,
    told_of_comparison,
    told_of_head,
    warn_of_comparison,
)
from exrep_hf.training.text_head import check_texts_are_used, text_teacher, texts_for

TeacherHead = Literal["own", "probe", "text", "none"]
_WITHOUT = "`teacher_head='none'` with `kd_weight=0, feature_weight=1`"


def with_head(
    teacher: TeacherSource | None,
    wanted: str | None,
    classes: HasClasses,
    args: DistillationArguments,
    train_dataset: Any,
    texts: TextClasses | None = None,
) -> tuple[TeacherSource | None, HeadTeacher | None]:
    """Return a teacher with the head that is wanted; and once more, if that head is the trainer's to fit or to keep.

    Args:
        teacher: if there is one.
        wanted: as in `wanted_head`.
        classes: the student's.
        args: which terms are active.
        train_dataset: as the user passes it.
        texts: prompts, and names of classes that the user gave.

    Raises:
        ValueError: if the teacher can't have such a head, naming what it can.
    """
    texts = texts or TextClasses(None)
    if teacher is None:
        if wanted is not None:
            raise ValueError(f"`teacher_head` is {wanted!r}, and there is no teacher. Pass one, or leave it out.")
        check_texts_are_used(texts, wanted)
        return None, None
    head = wanted_head(teacher, wanted, args.needs_logits)
    check_texts_are_used(texts, head)
    if head == "none":
        if args.needs_logits:
            what = f"`kd_weight` is {args.kd_weight}" if args.kd_weight else "one of `terms` compares logits"
            raise ValueError(
                f"`teacher_head` is 'none' and {what}: without a head there are no logits to compare. Pass {_WITHOUT}."
            )
        return teacher if teacher.num_labels is None else FeaturesOnly(teacher), None
    if head == "own":
        return teacher, None
    if head == "text":
        texted = text_teacher(teacher, texts_for(texts, classes, names_of_data(train_dataset)))
        return texted, texted
    check_can_be_fitted(teacher, train_dataset)
    probed = ProbedTeacher(source_of(teacher), classes)
    return probed, probed


def wanted_head(teacher: TeacherSource, wanted: str | None, needs_logits: bool) -> TeacherHead:
    """Return which head a teacher gets; one that was fitted before, here or for stored answers, is its own.

    Args:
        teacher: whom it is for.
        wanted: `own`, `probe`, `text`, `none`, or None: its own where it has one, else a probe where logits are
            needed.
        needs_logits: whether a term compares them.

    Raises:
        ValueError: for another head, or if the teacher has none of its own and that is wanted.
    """
    if wanted not in (None, *get_args(TeacherHead)):
        raise ValueError(f"`teacher_head` is {wanted!r}; expected one of {get_args(TeacherHead)}, or None to choose.")
    has_logits = teacher.num_labels is not None and not (isinstance(teacher, ProbedTeacher) and teacher.head is None)
    if wanted == "own" and not has_logits:
        raise ValueError(
            f"`teacher_head` is 'own', and the teacher, a {type(teacher).__name__}, has no classifier. Have one "
            f"fitted on labelled images (`teacher_head='probe'`), or compare features alone: {_WITHOUT}."
        )
    if wanted == "none" or wanted == "own":
        return "none" if wanted == "none" else "own"
    if wanted == "probe" or wanted == "text":
        # One that was stored with answers, or passed with its head, has that one.
        same = (fitted_head(teacher) or {}).get("kind") == wanted
        return "own" if same else "probe" if wanted == "probe" else "text"
    if has_logits:
        return "own"
    return "probe" if needs_logits else "none"


def check_can_be_fitted(teacher: TeacherSource, train_dataset: Any) -> None:
    """Make sure that there is something to fit a head on.

    Args:
        teacher: whose features they are.
        train_dataset: as the user passes it.

    Raises:
        ValueError: if there are no labelled images in rows, or answers are stored for mixed images alone.
    """
    kind = type(teacher).__name__
    if not may_have_labels(train_dataset):
        what = "there is no `train_dataset`" if train_dataset is None else "`train_dataset` has no rows with labels"
        raise ValueError(
            f"The teacher, a {kind}, needs a classifier that is fitted on labelled training images, and {what}. Pass "
            f"labelled images in rows that can be asked for, or compare features alone: {_WITHOUT}."
        )
    if teacher.views is not None and teacher.views.mixing:
        raise ValueError(
            f"The answers of the teacher, a {kind}, are stored for mixed images, and a classifier is fitted on images "
            "as they are. Store them again with one: `recipes/cache_teacher.py --teacher_head probe`, or compare "
            f"features alone: {_WITHOUT}."
        )


class TeacherHeadTrainer(ComponentTrainer):
    """Fits the teacher's head on labelled training images, once a run, and keeps it in checkpoints."""

    teacher: TeacherSource | None
    # The teacher, if its head is this trainer's to fit, or to keep.
    headed: HeadTeacher | None
    _head_labels: Tensor | None = None
    _data: DataPreparation

    @property
    def probed(self) -> ProbedTeacher | None:
        """The teacher, if its head is this trainer's to fit."""
        return self.headed if isinstance(self.headed, ProbedTeacher) else None

    def take_labels(self, given: Any, prepared: Any, classes: ClassMap) -> None:
        """Look at the labels that a head is to be fitted on, if one is.

        Args:
            given: the training images as the user passed them.
            prepared: the same as they are walked through.
            classes: whose numbers labels get.

        Raises:
            ValueError: if they are of fewer than two classes.
        """
        if self.probed is not None:
            self._head_labels = labels_to_fit_on(
                given, prepared, lambda names: classes.numbers_of_labels(names, "`train_dataset`")
            )
            check_two_classes(self._head_labels)

    # When

    def prepare_teacher(self, checkpoint: str | None) -> None:
        """Take the head from a checkpoint, or fit it, and write it into the run's folder; called on all processes."""
        super().prepare_teacher(checkpoint)
        headed = self.headed
        if headed is None:
            return
        if checkpoint is not None:
            path = Path(checkpoint) / HEAD_NAME
            if isinstance(headed, TextTeacher):
                made = headed.head
                headed.head = decided_by_main(lambda: load_text_head(path, made))
            elif isinstance(headed, ProbedTeacher):
                shape = (headed.num_labels, headed.feature_dim)
                headed.head = decided_by_main(lambda: load_head(path, *shape))
        self.fit_head()
        if self.args.should_save:
            headed.save_head(Path(str(self.args.output_dir)) / HEAD_NAME)

    def write_additions(self, checkpoint: str) -> None:
        """Write the head, too."""
        super().write_additions(checkpoint)
        if self.args.should_save and self.headed is not None:
            self.headed.save_head(Path(checkpoint) / HEAD_NAME)

    def begin_evaluation(self) -> None:
        """Fit the head before the teacher is asked."""
        if self.teacher is not None and self.teacher.views is None:
            self.fit_head()
        super().begin_evaluation()

    def run_facts(self) -> dict[str, Any]:
        """Add the head; its weights follow from the rest, and are in the checkpoint."""
        head = None if self.headed is None else "probe"
        if isinstance(self.headed, TextTeacher):
            head = text_fingerprint(self.headed.head)
        return super().run_facts() | {"teacher_head": head}

    # How

    def fit_head(self) -> None:
        """Fit the head where there is none yet, and say how good it is; call it on all processes.

        Raises:
            ValueError: if it can't be fitted on these images.
        """
        probed, dataset = self.probed, self.train_dataset
        if probed is None or probed.head is not None:
            return
        assert isinstance(dataset, SeededDataset)
        # Items that are looked at, and collators of the user's, may draw.
        with generators_kept(), torch.random.fork_rng(self.random_devices):
            # Of stored answers no image is needed, if the labels are known without one.
            by_number = probed.views is not None and not probed.preprocessing and self._head_labels is not None
            most = None if probed.views is None else probed.views.views
            if probed.views is None:
                dataset = unvaried(dataset)
            images = ProbeImages.of(None if by_number else dataset, self._head_labels, most)
            asked = self._asked(None if by_number else dataset, images)
            features = functools.partial(self._features, probed)
            probed.head = fitted_probe(asked, images.views, features, probed.num_labels)
            compared = self._compared_with_student(probed, images)
        if self.is_world_process_zero():
            print(told_of_head(probed.head), flush=True)
            if compared is not None:
                print(told_of_comparison(compared), flush=True)
                warn_of_comparison(compared)

    def _asked(self, dataset: SeededDataset | None, images: ProbeImages, thinned: int | None = None) -> AskedViews:
        args = self.args
        collate = self._data.normalising.after(self.data_collator)
        pace = (args.train_batch_size, loader_workers(args), args.device)
        return images.asked(dataset, collate, *pace, thinned)

    def _features(self, probed: ProbedTeacher, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad(), self.accelerator.autocast():
            features = probed.features(batch)
        assert features is not None
        return features

    # What a student has to gain

    def _compared_with_student(self, probed: ProbedTeacher, images: ProbeImages) -> Comparison | None:
        """Compare student and teacher on evaluation images where both can be asked, else on training images."""
        objective = self.distillation_objective
        if self.backend_saves_model and self.is_prepared:
            return None
        was_training = objective.training
        with self._whole_model_left_whole(), torch.no_grad(), self.accelerator.autocast():
            student = self.student.eval()
            try:
                return self._in_evaluation(student, probed) or self._in_training(student, probed, images)
            finally:
                objective.train(was_training)

    def _in_evaluation(self, student: ExRepForImageClassification, probed: ProbedTeacher) -> Comparison | None:
        sets: Any = self.eval_dataset
        name = next(iter(sets), None) if isinstance(sets, dict) else None
        images = sets[name] if name is not None else sets
        if probed.views is not None or not images or not may_have_labels(images):
            return None
        loader = self.get_eval_dataloader(name)
        most = -(-COMPARED_IMAGES // (self.args.eval_batch_size * self.args.world_size))
        answers: list[Any] = [lambda batch: _logits(student, batch), lambda batch: probed(batch).logits]
        batches = (self._prepare_inputs(batch) for batch in islice(loader, most))
        right = right_answers(batches, answers, self.accelerator.gather_for_metrics)
        return None if right is None else Comparison("evaluation images", *right)

    def _in_training(
        self, student: ExRepForImageClassification, probed: ProbedTeacher, images: ProbeImages
    ) -> Comparison | None:
        head, dataset = probed.head, self.train_dataset
        assert head is not None and isinstance(dataset, SeededDataset)
        if head.accuracy is None:
            return None
        asked = self._asked(dataset, images, COMPARED_IMAGES)
        logits, labels = asked.answers(lambda batch: _logits(student, batch).float())
        labelled = labels >= 0
        right = (logits.argmax(-1).cpu() == labels)[labelled].float().mean().item()
        return Comparison("training images, which it may have been trained on", right, head.accuracy)


def _logits(student: ExRepForImageClassification, batch: dict[str, Tensor]) -> Tensor:
    return student(pixel_values=batch["pixel_values"]).logits
