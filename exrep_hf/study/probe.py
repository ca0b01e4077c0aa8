"""A linear head for a study's teacher: fitted on public images, and measured on those that students are judged on."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction

from exrep_hf.arguments import DataArguments, DistillationArguments
from exrep_hf.data import ClassMap, ViewPolicy, collate_distillation
from exrep_hf.data.classes import HasClasses
from exrep_hf.data.partition import DataPartition
from exrep_hf.data.seeding import generators_kept
from exrep_hf.data.transport import Normalising
from exrep_hf.teacher import FeaturesOnly, LinearProbe, TeacherSource
from exrep_hf.teacher.cache.asked_images import images_to_ask_about
from exrep_hf.training.asked_views import AskedViews
from exrep_hf.training.machine import loader_workers
from exrep_hf.training.metrics import classification_metrics
from exrep_hf.training.probe_images import ProbeImages, fitted_probe, labels_to_fit_on

HALF_PRECISION = {"bf16": "bfloat16", "fp16": "float16"}
"""Names of torch's types, by accelerate's."""


@dataclass(frozen=True)
class NamedClasses:
    """Classes of images, as a model has them.

    Attributes:
        num_labels: how many.
        id2label: their names by number; None where they have none.
    """

    num_labels: int
    id2label: dict[int, str] | None

    @classmethod
    def of(cls, data: DataPartition) -> "NamedClasses":
        """Return the classes of a data set."""
        return cls(data.num_classes, None if data.names is None else dict(enumerate(data.names)))


def fit_head(
    source: TeacherSource, classes: HasClasses, images: Dataset, args: DistillationArguments, data_args: DataArguments
) -> LinearProbe:
    """Fit a linear classifier on a teacher's features of labelled images; call it on all processes.

    Args:
        source: whose features they are; of stored answers every view counts, of others the evaluation view.
        classes: whose classes and numbers the head gets.
        images: with a column of labels.
        args: batch, workers and precision.
        data_args: how classes are matched.

    Raises:
        ValueError: if it can't be fitted on these images.
    """
    teacher, rule, stored = FeaturesOnly(source), data_args.class_rule(), source.views
    dataset = None if stored is not None else images_to_ask_about(teacher, images, ViewPolicy(), rule)

    def numbers_of(names: Sequence[str] | None) -> tuple[int, ...] | None:
        return ClassMap(classes, None, rule, names).numbers_of_labels(names, "the data set")

    def features(batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad(), _autocast(args):
            answer = teacher.features(batch)
        assert answer is not None
        return answer

    with generators_kept():
        labels = labels_to_fit_on(images, dataset, numbers_of)
        chosen = ProbeImages.of(dataset, labels, None if stored is None else stored.views)
        pace = (args.train_batch_size, loader_workers(args), args.device)
        asked = chosen.asked(dataset, _collate(teacher), *pace)
        return fitted_probe(asked, chosen.views, features, classes.num_labels or 0)


def evaluate_head(
    teacher: TeacherSource, images: Dataset, args: DistillationArguments, data_args: DataArguments
) -> dict[str, float]:
    """Return the top-1 and top-5 accuracy of what a teacher answers on labelled images; call it on all processes."""
    dataset = images_to_ask_about(teacher, images, ViewPolicy(), data_args.class_rule())
    places = [(row, 0) for row in range(len(images))]
    pace = (args.eval_batch_size, loader_workers(args), args.device)
    asked = AskedViews(dataset, places, None, _collate(teacher), *pace)

    def logits(batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad(), _autocast(args):
            answer = teacher(batch).logits
        assert answer is not None
        return answer

    with generators_kept():
        found, labels = asked.answers(logits)
    return classification_metrics(EvalPrediction(found.cpu().numpy(), labels.numpy()))


def _collate(teacher: TeacherSource) -> Callable[[Any], dict[str, Tensor]]:
    return Normalising.for_teacher(teacher.preprocessing).after(collate_distillation)


def _autocast(args: DistillationArguments) -> AbstractContextManager[None]:
    name = HALF_PRECISION.get(args.mixed_precision)
    dtype = None if name is None else getattr(torch, name)
    return torch.autocast(args.device.type, dtype=dtype, enabled=dtype is not None)
