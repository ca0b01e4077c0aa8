"""From the data sets that people pass to the ones that the Trainer walks through."""

import dataclasses
import logging
from collections.abc import Sized
from typing import Any, Literal

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data import (
    Augmentation,
    DistillationDataset,
    Mixing,
    Preprocessing,
    ViewPolicy,
    ViewTransform,
    check_class_order,
    check_items,
    check_labels,
    find_columns,
    label_names,
)
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.labels import usable_labels
from exrep_hf.data.pixels import teacher_pixels
from exrep_hf.teacher import TeacherSource, check_views, known_preprocessing
from exrep_hf.training.given_data import check_given

logger = logging.getLogger(__name__)

_LABELS_ARE_FOR = {
    "train_dataset": "cross-entropy needs them (with `ce_weight=0` they may be missing).",
    "eval_dataset": "accuracy needs them (without a column of labels the loss alone is evaluated).",
}


class DataPreparation:
    """Give images the transforms of student and teacher, and refuse data that fit neither.

    Args:
        preprocessing: how the student wants its images; None where that is not known.
        teacher: the teacher, if there is one.
        classes: the student's configuration: how many classes it has, and their names.
    """

    def __init__(
        self, preprocessing: Preprocessing | None, teacher: TeacherSource | None, classes: HasClasses
    ) -> None:
        self.preprocessing = preprocessing
        self.teacher = teacher
        self.classes = classes
        self.num_labels = classes.num_labels or 0

    def for_training(
        self, dataset: Any, args: DistillationArguments, augmentation: Augmentation | Literal["preset"] | None
    ) -> tuple[Any, Mixing]:
        """Return the finished training data set, and how its batches are still to be mixed.

        A map-style data set comes back as a `SeededDataset`; where there are only some views, which are made again,
        as a `ReplayedDataset`, which mixes its items one by one.

        Args:
            dataset: as `DistillationTrainer` takes it.
            args: which terms are active, views, mixtures and seeds.
            augmentation: how single images are varied; `preset`: as the preset of `args` does, or as stored answers
                are for.

        Raises:
            ValueError: for data that don't fit the models, the settings or the teacher's stored answers.
        """
        seed, mixing = args.seed if args.data_seed is None else args.data_seed, Mixing(args.mixup, args.cutmix)
        if isinstance(augmentation, str):
            augmentation = self._usual_augmentation(args)
        views, replayed = self._views(ViewPolicy(args.views or 1, seed, augmentation, mixing), args)
        needed = self._needed_keys(args)
        check_given(dataset, "train_dataset")
        dataset = self._with_transform(
            dataset, views.augmentation, views.reference, "train_dataset", "labels" in needed
        )
        if is_map_style(dataset):
            dataset = SeededDataset(dataset, views.seed)
        check_items(dataset, needed, self.num_labels)
        if replayed and dataset is not None:
            dataset = _replayed(dataset, views, self.num_labels if "labels" in needed else None)
        if args.needs_teacher and self.teacher is not None and dataset is not None:
            self.teacher.check_images(dataset)
            if isinstance(dataset, SeededDataset):
                teacher_pixels(dataset[0], len(self.teacher.preprocessing))
        _check_batches(args, dataset)
        return dataset, Mixing() if replayed else mixing

    def _usual_augmentation(self, args: DistillationArguments) -> Augmentation | None:
        """Return how images are varied where nobody says so."""
        if args.needs_teacher and self.teacher is not None and self.teacher.views is not None:
            return self.teacher.views.augmentation
        return Augmentation.from_preset(args.preset)

    def _views(self, wanted: ViewPolicy, args: DistillationArguments) -> tuple[ViewPolicy, bool]:
        """Return the views to train on, and whether these are all there are; if not, each epoch has new ones."""
        stored = None if self.teacher is None else self.teacher.views
        if stored is not None and args.needs_teacher:
            check_views(stored, wanted, number_given=args.views is not None)
            return stored, True
        if args.views is None or self.teacher is None:
            return wanted, args.views is not None
        # As they would be made for the teacher alone, whose answers may be stored later, or are.
        reference = wanted.seen_by(self.teacher.preprocessing).reference if stored is None else stored.reference
        return dataclasses.replace(wanted, reference=reference), True

    def _needed_keys(self, args: DistillationArguments) -> list[str]:
        """Keys that items have to hold, beside `pixel_values`."""
        has_bank = args.crd_weight and args.queue_length is None
        stored = args.needs_teacher and self.teacher is not None and self.teacher.views is not None
        return ["sample_index"] * bool(has_bank or stored) + ["labels"] * bool(args.ce_weight)

    def for_evaluation(self, dataset: Any) -> Any:
        """Prepare a data set, or each of a dict of them, for evaluation.

        Raises:
            ValueError: for data that don't fit the models.
        """
        if isinstance(dataset, dict):
            return {name: self.for_evaluation(part) for name, part in dataset.items()}
        check_given(dataset, "eval_dataset")
        dataset = self._with_transform(dataset, None, None)
        check_items(dataset, (), self.num_labels, name="eval_dataset")
        return dataset

    def _with_transform(
        self,
        dataset: Any,
        augmentation: Augmentation | None,
        reference: Preprocessing | None,
        name: str = "eval_dataset",
        labels_needed: bool = True,
    ) -> Any:
        """Give an HF `Dataset` of images its transform; other data sets already hold tensors."""
        if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
            return dataset
        if "pixel_values" in dataset.column_names:
            return dataset.with_format("torch")
        image_column, label_column = find_columns(dataset)
        dataset, label_column = usable_labels(dataset, label_column, f"`{name}`", labels_needed, _LABELS_ARE_FOR[name])
        if label_column is not None:
            check_labels(dataset, label_column, self.num_labels)
            check_class_order(self.classes, label_names(dataset, label_column))
        if self.preprocessing is None:
            raise ValueError(
                "How the student wants its images is not known. Pass its image processor as `processing_class`."
            )
        teachers = () if self.teacher is None else known_preprocessing(self.teacher)
        transform = ViewTransform(self.preprocessing, teachers, augmentation, reference)
        return DistillationDataset(dataset, transform, image_column, label_column)


def _replayed(dataset: Any, views: ViewPolicy, num_labels: int | None) -> ReplayedDataset:
    if not isinstance(dataset, SeededDataset):
        raise ValueError(
            f"`train_dataset` is a {type(dataset).__name__}, which only yields its items one by one; views can be "
            "made again only of rows that can be asked for. Pass a map-style data set, or leave out `views` and "
            "stored answers."
        )
    return ReplayedDataset(dataset.dataset, views, num_labels)


def _check_batches(args: DistillationArguments, dataset: Any) -> None:
    images = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and isinstance(dataset, SeededDataset) and len(dataset) < images:
        raise ValueError(
            f"`train_dataset` has {len(dataset)} images, fewer than one batch of {images}, and `dataloader_drop_last` "
            "leaves incomplete batches out. Lower `per_device_train_batch_size`, or let incomplete batches in."
        )


def number_of(dataset: Any) -> int | None:
    """Return how many images a data set has; None where that is not known."""
    return len(dataset) if isinstance(dataset, Sized) else None


def training_labels(dataset: Any) -> Tensor | None:
    """Return the class of every training image, where the data set says so."""
    labels = getattr(dataset.dataset, "labels", None) if isinstance(dataset, SeededDataset) else None
    return None if labels is None else torch.as_tensor(labels)


def student_preprocessing(model: PreTrainedModel, processor: BaseImageProcessor | None) -> Preprocessing | None:
    """Return how the student wants its images, from its processor or from itself; None where neither says so.

    Raises:
        ValueError: if the processor does what can't be expressed.
    """
    if processor is not None:
        return Preprocessing.from_image_processor(processor)
    try:
        return Preprocessing.from_model(model)
    except ValueError as error:
        logger.warning("Nothing about images will be saved with the student. %s", error)
        return None
