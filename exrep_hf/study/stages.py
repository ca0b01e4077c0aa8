"""What comes before distillation: a teacher, and a student that has seen public images only."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, set_seed
from transformers.image_processing_utils import BaseImageProcessor
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from exrep_hf.arguments import DistillationArguments, ModelArguments
from exrep_hf.arguments.distillation import FEATURE_TERMS
from exrep_hf.data import Augmentation, Preprocessing, class_names
from exrep_hf.data.class_map import Side, numbers_of_each
from exrep_hf.data.labels import unlabelled_rows
from exrep_hf.data.partition import DataPartition
from exrep_hf.files import replacing
from exrep_hf.models import (
    ExRepForImageClassification,
    has_classifier,
    load_classifier,
    load_teacher_network,
    set_input_size,
    set_labels,
)
from exrep_hf.models.image_check import check_takes_image
from exrep_hf.models.write_network import write_network
from exrep_hf.study.progress import show_progress
from exrep_hf.study.run_names import run_name
from exrep_hf.teacher import OnlineTeacher
from exrep_hf.training.trainer import DistillationTrainer


@dataclasses.dataclass
class Classifier:
    """A starting student, or a teacher: the network and how it wants its images.

    Attributes:
        classifier: the plain classifier; of a teacher it may be a network that gives features alone.
        processor: its image processor.
    """

    classifier: PreTrainedModel
    processor: BaseImageProcessor

    @property
    def preprocessing(self) -> Preprocessing:
        """What the image processor does."""
        return Preprocessing.from_image_processor(self.processor)


def labels_only(args: DistillationArguments) -> DistillationArguments:
    """Settings of a stage without a teacher, which saves, evaluates and publishes nothing by itself."""
    changed = without_traces(args)
    changed.ce_weight = 1.0
    changed.kd_weight = 0.0
    for name in FEATURE_TERMS:
        setattr(changed, name, 0.0)
    changed.mixup = changed.cutmix = 0.0
    changed.views = changed.terms = changed.ema_decay = None
    changed.disable_dropout = False
    return changed


def of_seed(args: DistillationArguments, seed: int) -> DistillationArguments:
    """Return settings with another seed."""
    changed = copy.deepcopy(args)
    changed.seed = seed
    return changed


def without_traces(args: DistillationArguments) -> DistillationArguments:
    """Return settings of a run that saves, evaluates and publishes nothing by itself."""
    changed = copy.deepcopy(args)
    changed.save_strategy = SaveStrategy.NO
    changed.eval_strategy = IntervalStrategy.NO
    changed.load_best_model_at_end = changed.push_to_hub = False
    return changed


def with_distiller(start: Classifier, model_args: ModelArguments) -> ExRepForImageClassification:
    """Return a copy of a starting student with an arm's Input Distiller before it."""
    student = ExRepForImageClassification.from_backbone(
        copy.deepcopy(start.classifier),
        distiller=None if model_args.distiller == "none" else model_args.distiller,
        distiller_channels=model_args.distiller_channels,
        image_size=model_args.image_size,
    )
    student.starts_from_nothing = model_args.student_from_scratch
    return student


def check_labels_for_stages(data: DataPartition, model_args: ModelArguments, seeds: Sequence[int]) -> None:
    """Make sure that teacher and student are trained with labels first only where there are some, and then are.

    Raises:
        ValueError: if there are no labels for it, or an untrained student isn't trained with those that there are.
    """
    stages = [("teacher_steps", model_args.teacher_steps, data.teacher_images)]
    stages += [("student_steps", model_args.student_steps, data.parts(seed)[0]) for seed in seeds]
    for name, steps, images in stages:
        has_labels = len(unlabelled_rows(images, "label")) < len(images)
        if has_labels and not steps and name == "student_steps" and model_args.student_from_scratch:
            raise ValueError(
                "`student_from_scratch` is set but `student_steps` is 0: what is to be compared is a student that has "
                "learnt from the labels. Give `--student_steps`, or a student with weights."
            )
        if steps and not has_labels:
            raise ValueError(
                f"`{name}` is {steps}, and none of the {len(images)} training images of {data.args.dataset!r} has a "
                f"label, by which they are trained. Set `{name}` to 0, or label some images."
            )


def train_with_labels(
    student: Classifier,
    dataset: Dataset,
    data: DataPartition,
    args: DistillationArguments,
    model_args: ModelArguments,
    steps: int,
    name: str,
) -> None:
    """Train a classifier with labels alone, in place; trackers know the stage by its name."""
    stage = labels_only(args)
    stage.run_name = run_name(args, name)
    stage.max_steps = steps
    stage.learning_rate = model_args.pretraining_learning_rate
    stage.weight_decay = model_args.pretraining_weight_decay
    stage.freeze_batch_norm = False
    # A network that has been a teacher is frozen.
    student.classifier.requires_grad_(True)
    trainer = DistillationTrainer(
        student.classifier,
        args=stage,
        train_dataset=dataset,
        augmentation=Augmentation.from_arguments(data.args),
        processing_class=student.processor,
        classes=data.args.class_rule(),
    )
    show_progress(trainer, name)
    trainer.train()
    student.classifier = trainer.whole_student().classifier.eval()


def load_network(
    name: str,
    revision: str | None,
    from_scratch: bool,
    trained_here: bool,
    data: DataPartition,
    model_args: ModelArguments,
    new_head: bool = False,
) -> Classifier:
    """Load a classifier for the classes of the data set.

    Args:
        name: Hub name or folder.
        revision: branch, tag or commit on the Hub.
        from_scratch: whether to take its architecture alone.
        trained_here: whether labels will teach it its classes.
        data: the images.
        model_args: size and layout.
        new_head: whether it is to have an untrained head for these classes.

    Raises:
        ValueError: if it is not found, or has other classes than the data set and is neither trained here nor given
            a new head.
    """
    id2label, num_classes = _names_by_number(data), data.num_classes
    if new_head:
        classifier = load_classifier(name, num_classes, id2label, revision=revision, new_head=True)
        return _prepared(classifier, name, model_args)
    classifier = load_classifier(
        name,
        num_labels=num_classes if from_scratch else None,
        id2label=id2label if from_scratch else None,
        pretrained=not from_scratch,
        revision=revision,
    )
    if trained_here and not _has_these_classes(classifier, data):
        classifier = load_classifier(name, num_classes, id2label, revision=revision, new_head=True)
    elif not trained_here:
        _check_classes(classifier, name, data)
    _name_classes(classifier, data)
    return _prepared(classifier, name, model_args)


def _names_by_number(data: DataPartition) -> dict[int, str] | None:
    return None if data.names is None else dict(enumerate(data.names))


def _name_classes(classifier: PreTrainedModel, data: DataPartition) -> None:
    """Give a classifier that does not name its classes the data's names, where it has as many."""
    id2label, same_number = _names_by_number(data), classifier.config.num_labels == data.num_classes
    if id2label is not None and same_number and class_names(classifier.config) is None:
        set_labels(classifier.config, id2label)


def _prepared(classifier: PreTrainedModel, name: str, model_args: ModelArguments) -> Classifier:
    """Return a network with the images that it wants, after a try whether it takes them."""
    preprocessing = Preprocessing.from_model(classifier)
    if (image_size := model_args.image_size) is not None:
        set_input_size(classifier.config, image_size)
        preprocessing = dataclasses.replace(preprocessing, height=image_size, width=image_size, resize=image_size)
    blank = torch.zeros(len(preprocessing.mean), preprocessing.height, preprocessing.width)
    check_takes_image(classifier, blank, f"model {name!r}")
    return Classifier(classifier, preprocessing.to_image_processor())


def _has_these_classes(classifier: PreTrainedModel, data: DataPartition) -> bool:
    """Return whether a network that is to be trained here has a head for the data's classes."""
    names = class_names(classifier.config)
    if classifier.config.num_labels != data.num_classes or names is None or data.names is None:
        return classifier.config.num_labels == data.num_classes
    try:
        numbers_of_each(Side.of_data("the data set", data.names), Side.of_model("the network", classifier.config))
    except ValueError:
        return False
    return True


def _check_classes(classifier: PreTrainedModel, name: str, data: DataPartition) -> None:
    """Make sure that a trained student knows the data's classes."""
    if data.names is None:
        return
    rule, model = data.args.class_rule(), Side.of_model(repr(name), classifier.config)
    model = model.called(rule, data.names) if isinstance(rule, Mapping) else model
    try:
        numbers_of_each(Side.of_data("the data set", data.names), model, rule)
    except ValueError as error:
        raise ValueError(
            f"{error} Or give the student an untrained head for these classes (`--student_new_head`), or let it be "
            "trained on them first (`--student_steps`)."
        ) from error


def load_teacher(model_args: ModelArguments, data: DataPartition, kept: Path | None) -> Classifier | None:
    """Load the teacher, or the one that this study trained before and kept in a folder."""
    if kept is not None:
        return load_network(str(kept), None, False, True, data, model_args)
    name, revision = model_args.teacher, model_args.teacher_revision
    if name is None or model_args.teacher_cache is not None:
        return None
    if model_args.teacher_steps:
        return load_network(name, revision, model_args.teacher_from_scratch, True, data, model_args)
    return _load_network_to_ask(name, revision, model_args, data)


def load_other_teachers(model_args: ModelArguments, data: DataPartition) -> list[Classifier]:
    """Load the teachers beside the first one."""
    return [_load_network_to_ask(name, None, model_args, data) for name in model_args.other_teachers]


def _load_network_to_ask(
    name: str, revision: str | None, model_args: ModelArguments, data: DataPartition
) -> Classifier:
    network: Any = load_teacher_network(name, revision, _dtype(model_args))
    # Which of its classes the student has is found out for each arm, where its logits are used.
    if has_classifier(network) and data.args.class_rule() == "position":
        _name_classes(network, data)
    return _prepared(network, name, model_args)


def _dtype(model_args: ModelArguments) -> torch.dtype | None:
    return None if model_args.teacher_dtype == "auto" else getattr(torch, model_args.teacher_dtype)


def ask_online(teacher: Classifier, model_args: ModelArguments) -> OnlineTeacher:
    """Return a study's teacher as what is asked at every step, in the type and with the features of its settings."""
    # One that was trained here is in float32.
    if (dtype := _dtype(model_args)) is not None:
        nn.Module.to(teacher.classifier, dtype)
    features, batch_size = model_args.teacher_features, model_args.teacher_batch_size
    return OnlineTeacher(teacher.classifier, teacher.processor, features, batch_size)


def in_float32(teacher: Classifier) -> Classifier:
    """Return a teacher, or a copy of it, for an evaluation as of a student, whose weights become float32."""
    weights = teacher.classifier.parameters()
    if all(weight.dtype == torch.float32 for weight in weights):
        return teacher
    return dataclasses.replace(teacher, classifier=copy.deepcopy(teacher.classifier))


def load_student(model_args: ModelArguments, data: DataPartition, kept: Path | None = None) -> Classifier:
    """Load the student as it is before `student_steps`, or the one that this study trained before and kept."""
    if kept is not None:
        return load_network(str(kept), None, False, True, data, model_args)
    assert model_args.student is not None
    return load_network(
        model_args.student,
        model_args.student_revision,
        model_args.student_from_scratch,
        model_args.student_steps > 0,
        data,
        model_args,
        model_args.student_new_head,
    )


def starting_student(
    data: DataPartition, seed: int, args: DistillationArguments, model_args: ModelArguments, kept: Path
) -> Classifier:
    """Return the student that all arms of a seed start from: trained with labels where that is asked for, and kept.

    Args:
        data: the images, of which it sees the public ones.
        seed: of its weights, and which images are public.
        args: settings of training; their own seed gives the order of the images.
        model_args: which student, and how long it is trained.
        kept: where it lies; one that is there already is taken.
    """
    set_seed(seed)
    is_there = kept.is_dir()
    start = load_student(model_args, data, kept if is_there else None)
    if model_args.student_steps and not is_there:
        public, _ = data.parts(seed)
        train_with_labels(start, public, data, args, model_args, model_args.student_steps, f"student-seed{seed}")
        save_network(start, kept)
    return start


def save_network(student: Classifier, folder: Path) -> None:
    """Write a classifier and its image processor, on the main process: whole or not at all."""
    if PartialState().is_main_process:
        with replacing(folder) as temporary:
            write_network(student.classifier, student.processor, temporary)
