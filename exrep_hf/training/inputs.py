"""From the data sets that people pass to the ones that the Trainer walks through."""

import logging
from collections.abc import Sequence
from typing import Any

import datasets
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.data import (
    Augmentation,
    DistillationDataset,
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
from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherSource

logger = logging.getLogger(__name__)


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

    def for_training(self, dataset: Any, views: ViewPolicy, replayed: bool, needed: Sequence[str]) -> Any:
        """Prepare a training data set; a map-style one comes back as a `SeededDataset`.

        Args:
            dataset: as `DistillationTrainer` takes it.
            views: seed and augmentation of images; where they are replayed, also their number and mixtures.
            replayed: whether there are only the policy's views; if not, each epoch has new ones.
            needed: keys that items have to hold, beside `pixel_values`.

        Raises:
            ValueError: for data that don't fit the models or the teacher's stored answers.
        """
        dataset = self._with_transform(dataset, views.augmentation, replayed)
        if is_map_style(dataset):
            dataset = SeededDataset(dataset, views.seed)
        check_items(dataset, needed, self.num_labels)
        if replayed and dataset is not None:
            if not isinstance(dataset, SeededDataset):
                raise ValueError(
                    f"`train_dataset` is a {type(dataset).__name__}, which only yields its items one by one; "
                    "views can be made again only of rows that can be asked for. Pass a map-style data set, or leave "
                    "out `views` and stored answers."
                )
            dataset = ReplayedDataset(dataset.dataset, views, self.num_labels if "labels" in needed else None)
        return dataset

    def for_evaluation(self, dataset: Any) -> Any:
        """Prepare a data set, or each of a dict of them, for evaluation.

        Raises:
            ValueError: for data that don't fit the models.
        """
        if isinstance(dataset, dict):
            return {name: self.for_evaluation(part) for name, part in dataset.items()}
        dataset = self._with_transform(dataset, None, False)
        check_items(dataset, (), self.num_labels, name="eval_dataset")
        return dataset

    def _with_transform(self, dataset: Any, augmentation: Augmentation | None, replayed: bool) -> Any:
        """Give an HF `Dataset` of images its transform; other data sets already hold tensors."""
        if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
            return dataset
        if "pixel_values" in dataset.column_names:
            return dataset.with_format("torch")
        image_column, label_column = find_columns(dataset)
        if label_column is not None:
            check_labels(dataset, label_column, self.num_labels)
            check_class_order(self.classes, label_names(dataset, label_column))
        if self.preprocessing is None:
            raise ValueError(
                "How the student wants its images is not known. Pass its image processor as `processing_class`."
            )
        teacher_preprocessing = None if self.teacher is None else self.teacher.preprocessing
        if isinstance(self.teacher, OnlineTeacher) and teacher_preprocessing is None:
            raise ValueError(
                "How the teacher wants its images is not known. Pass `OnlineTeacher(model, processing_class=...)` "
                "with its image processor as the teacher."
            )
        reference = None
        if replayed and self.teacher is not None:
            # Stored answers are for views that were made for the teacher alone.
            stored = self.teacher.stored_preprocessing if isinstance(self.teacher, CachedTeacher) else None
            reference = stored or teacher_preprocessing
        transform = ViewTransform(self.preprocessing, teacher_preprocessing, augmentation, reference)
        return DistillationDataset(dataset, transform, image_column, label_column)


def student_preprocessing(model: PreTrainedModel, processor: BaseImageProcessor | None) -> Preprocessing | None:
    """How the student wants its images, from its processor or from itself; None where neither says so.

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
