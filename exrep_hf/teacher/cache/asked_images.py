"""A data set's views, as a teacher wants to see them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasets

from exrep_hf.arguments.class_rule import ClassRule
from exrep_hf.data import DistillationDataset, ViewPolicy, ViewTransform, find_columns, label_names
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.class_map import Side, numbers_of_each, numbers_of_shared
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.labels import usable_labels
from exrep_hf.data.loading import holds_tensors
from exrep_hf.teacher.requirements import known_preprocessing
from exrep_hf.teacher.source import TeacherSource

logger = logging.getLogger(__name__)


def images_to_ask_about(
    teacher: TeacherSource, dataset: Any, views: ViewPolicy, rule: ClassRule = "names"
) -> ReplayedDataset:
    """Return the views of a data set, prepared for a teacher alone.

    Args:
        teacher: who will be asked.
        dataset: an HF `Dataset` of images, one that was prepared for a student, or a map-style data set of tensors.
        views: which views.
        rule: how the classes of data set and teacher are matched.

    Raises:
        ValueError: if the data set has no rows, augments otherwise, or can't be prepared for this teacher.
    """
    if not is_map_style(dataset):
        raise ValueError(
            f"The data set is a {type(dataset).__name__}, which only yields its items one by one; answers are stored "
            "by row. Pass a map-style data set."
        )
    numbers = _Numbers(None, teacher.num_labels)
    if isinstance(dataset, DistillationDataset):
        if dataset.transform.augmentation != views.augmentation:
            raise ValueError(
                f"The data set augments its images by {dataset.transform.augmentation}; expected "
                f"{views.augmentation}, as `views` says. Pass the HF `Dataset` itself."
            )
        columns = (dataset.image_column, dataset.label_column)
        numbers = _numbers(teacher, dataset.rows, dataset.label_column, rule)
        dataset = DistillationDataset(dataset.rows, _transform(teacher, views), *columns, numbers.of_classes)
    elif isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        if holds_tensors(dataset):
            dataset = dataset.with_format("torch")
        else:
            image, label = find_columns(dataset)
            dataset, label = usable_labels(dataset, label, "the data set", needed="none")
            numbers = _numbers(teacher, dataset, label, rule)
            dataset = DistillationDataset(dataset, _transform(teacher, views), image, label, numbers.of_classes)
    return ReplayedDataset(dataset, views, numbers.count)


@dataclass(frozen=True)
class _Numbers:
    """The teacher's number of each class of a data set, by which its answers are compared with labels.

    Attributes:
        of_classes: None: the same.
        count: how many there are, for labels of mixed images; None: these have no meaning.
    """

    of_classes: tuple[int, ...] | None
    count: int | None


def _numbers(teacher: TeacherSource, rows: datasets.Dataset, label: str | None, rule: ClassRule) -> _Numbers:
    """Find the data set's classes among the teacher's: whether its logits will be of use is not known here."""
    count = teacher.num_labels
    if label is None or count is None or (names := label_names(rows, label)) is None:
        return _Numbers(None, count)
    here, there = Side.of_data("the data set", names), Side.of_model("the teacher", teacher)
    there = there.called(rule) if isinstance(rule, Mapping) else there
    try:
        return _Numbers(numbers_of_each(here, there, rule), count)
    except ValueError as error:
        shared = None if rule == "position" else numbers_of_shared(here, there)
        if shared is None:
            logger.warning("%s As it is, the answers are of use for their features alone.", error)
            return _Numbers((-1,) * len(names), None)
        logger.warning("%s As it is, the answers are of use for the other classes, and for their features.", error)
        known = numbers_of_each(here, there, rule, shared) or shared
        # No answer to an image of another class is right.
        numbers = dict.fromkeys(range(len(names)), count) | dict(zip(shared, known, strict=True))
        return _Numbers(tuple(numbers.values()), count + 1)


def _transform(teacher: TeacherSource, views: ViewPolicy) -> ViewTransform:
    wanted = known_preprocessing(teacher)
    if not wanted:
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, sees no images, and has to be queried on some. Pass the "
            "network, as an `OnlineTeacher`."
        )
    # The first set stands where a student's would.
    return ViewTransform(wanted[0], wanted, views.augmentation, normalised=not views.mixes_pixels)
