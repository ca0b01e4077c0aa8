"""The labelled training images that a teacher's head is fitted on, as they are before they are mixed."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch import Tensor

from exrep_hf.data import DistillationDataset, ViewTransform, find_columns
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.datasets import SeededDataset
from exrep_hf.data.labels import unlabelled_rows, with_class_numbers
from exrep_hf.data.loading import holds_tensors
from exrep_hf.data.partners import Place
from exrep_hf.data.seeding import generators_kept
from exrep_hf.main_process import decided_by_main
from exrep_hf.teacher import LinearProbe, fit_linear_probe
from exrep_hf.teacher.image_folds import spread_over_classes
from exrep_hf.training.asked_views import AskedViews
from exrep_hf.training.classes import names_of_data
from exrep_hf.training.inputs import training_labels

MOST_IMAGES = 50_000
"""Of more labelled images so many are taken, evenly over the classes."""
_MOST_VIEWS = 8
_ENOUGH_ROWS = 4096
_KEYS = ("labels", "label")


def may_have_labels(dataset: Any) -> bool:
    """Return whether a training data set, as a user passes it, has rows with labels."""
    if not is_map_style(dataset) or len(dataset) == 0:
        return False
    if isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        if holds_tensors(dataset):
            return any(name in dataset.column_names for name in _KEYS)
        column = find_columns(dataset)[1]
        return column is not None and len(unlabelled_rows(dataset, column)) < len(dataset)
    if getattr(dataset, "labels", None) is not None:
        return True
    with generators_kept():
        item = dataset[0]
    return isinstance(item, Mapping) and any(name in item for name in _KEYS)


def labels_to_fit_on(
    given: Any, prepared: Any, numbers_of: Callable[[Sequence[str] | None], tuple[int, ...] | None]
) -> Tensor | None:
    """Return the class of every training image, -1 where it has none; None: the items alone hold it.

    Args:
        given: the data set as the user passed it, of which some rows may have labels alone.
        prepared: the same as a trainer walks through it.
        numbers_of: returns the number of each class by the names that the data set has; None: the same.
    """
    images = isinstance(given, datasets.Dataset) and given.format["type"] != "custom" and not holds_tensors(given)
    if not images:
        labels = training_labels(prepared)
        return None if labels is None else labels.long()
    _, column = find_columns(given)
    if column is None:
        return None
    numbers = numbers_of(names_of_data(given))
    stored = with_class_numbers(given, column, "`train_dataset`").with_format(None)[column][:]
    has_label = [isinstance(label, int) and label >= 0 for label in stored]
    renumbered = [
        (label if numbers is None else numbers[label]) if has else -1
        for label, has in zip(stored, has_label, strict=True)
    ]
    return torch.tensor(renumbered, dtype=torch.int64)


def check_two_classes(labels: Tensor | None) -> None:
    """Make sure, where labels are known, that a classifier can be fitted on them.

    Raises:
        ValueError: if the labelled images are of fewer than two classes.
    """
    if labels is not None and len(found := labels[labels >= 0].unique().tolist()) < 2:
        raise ValueError(
            f"`teacher_head` is 'probe', and the labelled images of `train_dataset` are of the classes {found}; "
            "expected at least two: a classifier tells classes apart. Label images of other classes, or pass "
            "`teacher_head='none'` with `kd_weight=0, feature_weight=1`."
        )


def unvaried(dataset: SeededDataset) -> SeededDataset:
    """Return the same images in their evaluation view, where the data set can make it.

    A head that is fitted on small crops knows whole images and mixtures of them less well, and so do its students.
    """
    inner = dataset.dataset
    if not isinstance(inner, DistillationDataset) or inner.transform.augmentation is None:
        return dataset
    plain = copy.copy(inner)
    made = inner.transform
    plain.transform = ViewTransform(made.student, made.teachers, normalised=made.normalised)
    return SeededDataset(plain, dataset.seed, dataset.numbered)


def number_of_views(images: int) -> int:
    """Return how many views of each image a head is fitted on: eight of up to 512 images, one of 4096."""
    return max(1, min(_MOST_VIEWS, _ENOUGH_ROWS // images))


@dataclass(frozen=True)
class ProbeImages:
    """Which images are asked about, and how often.

    Attributes:
        rows: in ascending order.
        labels: of each of them `(rows,)`; None: their items hold them.
        views: of each of them.
    """

    rows: list[int]
    labels: Tensor | None
    views: int

    @classmethod
    def of(cls, dataset: SeededDataset | None, labels: Tensor | None, most_views: int | None) -> "ProbeImages":
        """Choose them.

        Args:
            dataset: as a trainer walks through it; None, with `labels`: answers are stored, and no image is needed.
            labels: of `labels_to_fit_on`.
            most_views: how many there are; None: any number.
        """
        if labels is None:
            assert dataset is not None
            count = len(dataset.dataset)
            taken = min(count, MOST_IMAGES)
            rows = (torch.arange(taken) * count // taken).tolist()
        else:
            labelled = (labels >= 0).nonzero().flatten()
            chosen = labelled[spread_over_classes(labels[labelled], MOST_IMAGES)]
            rows, labels = chosen.tolist(), labels[chosen]
        views = number_of_views(len(rows))
        if most_views is not None:
            views = min(views, most_views)
        return cls(rows, labels, views if views > 1 and (dataset is None or _varies(dataset, rows[0])) else 1)

    def places(self) -> list[Place]:
        """Return row and number of each view, row after row."""
        return [(row, view) for row in self.rows for view in range(self.views)]

    def asked(
        self,
        dataset: SeededDataset | None,
        collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
        batch_size: int,
        num_workers: int,
        device: torch.device,
        thinned: int | None = None,
    ) -> AskedViews:
        """Return the walk through all views; or through one view of each of so many images at most."""
        places, labels = self.places(), self.labels
        labels = None if labels is None else labels.repeat_interleave(self.views)
        step = self.views * -(-len(self.rows) // thinned) if thinned else 1
        labels = None if labels is None else labels[::step]
        return AskedViews(dataset, places[::step], labels, collate, batch_size, num_workers, device)


def fitted_probe(
    asked: AskedViews, views: int, features: Callable[[dict[str, Tensor]], Tensor], num_labels: int
) -> LinearProbe:
    """Fit a linear classifier on a teacher's features of labelled views; call it on all processes.

    Args:
        asked: the views, those of an image one after another.
        views: how many an image has.
        features: returns the teacher's features `(batch, dim)`.
        num_labels: number of classes.

    Returns:
        The same on all processes, to the bit.

    Raises:
        ValueError: if it can't be fitted on these images.
    """
    answers, labels = asked.answers(lambda batch: features(batch).float())
    labels = labels[::views]
    labelled = (labels >= 0).nonzero().flatten()
    chosen = answers.unflatten(0, (-1, views))[labelled.to(answers.device)]
    return decided_by_main(lambda: fit_linear_probe(chosen, labels[labelled], num_labels))


def _varies(dataset: SeededDataset, row: int) -> bool:
    """Return whether the views of an image differ."""
    first, second = dataset.items_of([(row, 0), (row, 1)])
    if not isinstance(first, Mapping):
        return True
    pairs = [(first[name], second[name]) for name in first if isinstance(first[name], Tensor)]
    return not all(torch.equal(one, other) for one, other in pairs)
