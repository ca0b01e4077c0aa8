"""A data set's views, as a teacher wants to see them."""

from typing import Any

import datasets

from exrep_hf.data import DistillationDataset, ViewPolicy, ViewTransform, find_columns
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.labels import usable_labels
from exrep_hf.teacher.requirements import known_preprocessing
from exrep_hf.teacher.source import TeacherSource


def images_to_ask_about(teacher: TeacherSource, dataset: Any, views: ViewPolicy) -> ReplayedDataset:
    """Return the views of a data set, prepared for a teacher alone.

    Args:
        teacher: who will be asked.
        dataset: an HF `Dataset` of images, one that was prepared for a student, or a map-style data set of tensors.
        views: which views.

    Raises:
        ValueError: if the data set has no rows, augments otherwise, or can't be prepared for this teacher.
    """
    if not is_map_style(dataset):
        raise ValueError(
            f"The data set is a {type(dataset).__name__}, which only yields its items one by one; answers are stored "
            "by row. Pass a map-style data set."
        )
    if isinstance(dataset, DistillationDataset):
        if dataset.transform.augmentation != views.augmentation:
            raise ValueError(
                f"The data set augments its images by {dataset.transform.augmentation}; expected "
                f"{views.augmentation}, as `views` says. Pass the HF `Dataset` itself."
            )
        columns = (dataset.image_column, dataset.label_column)
        dataset = DistillationDataset(dataset.rows, _transform(teacher, views), *columns)
    elif isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        if "pixel_values" in dataset.column_names:
            dataset = dataset.with_format("torch")
        else:
            image_column, label_column = find_columns(dataset)
            dataset, label_column = usable_labels(dataset, label_column, "the data set", needed=False)
            dataset = DistillationDataset(dataset, _transform(teacher, views), image_column, label_column)
    return ReplayedDataset(dataset, views, teacher.num_labels)


def _transform(teacher: TeacherSource, views: ViewPolicy) -> ViewTransform:
    wanted = known_preprocessing(teacher)
    if not wanted:
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, sees no images, and has to be queried on some. Pass the "
            "network, as an `OnlineTeacher`."
        )
    # The first set stands where a student's would.
    return ViewTransform(wanted[0], wanted, views.augmentation)
