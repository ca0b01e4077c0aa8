"""A teacher whose answers were computed once and stored."""

import copy
import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor
from torch.utils.data import Dataset

from exrep_hf.data import (
    DistillationDataset,
    Preprocessing,
    ViewPolicy,
    ViewTransform,
    find_columns,
)
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.fingerprint import check_repeatable, fingerprint
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.cache import Plan, Provenance, Storage, StoredAnswers, write_answers
from exrep_hf.teacher.cache.answer_files import AnswerFiles
from exrep_hf.teacher.cache.top_k import check_temperature, rebuild_logits
from exrep_hf.teacher.source import TeacherSource

# What computes answers and pixels; of other packages they don't depend.
_PACKAGES = ("torch", "transformers", "timm", "torchvision", "pillow")


class CachedTeacher:
    """Logits and features of every view of every training image, read from what `write` stored.

    Answers are found by `sample_index` and `view`, so batches have to hold them; `DistillationTrainer` sees to it that
    the student gets the views that the answers are for. Only the rows of a batch are read.

    Args:
        name_or_path: a folder that `write` or `recipes/cache_teacher.py` made, or the name of a data set on the Hub.
            From there each view is downloaded when it is first needed.
        revision: branch, tag or commit on the Hub.
        verify: `sample` checks sizes and some checksums, `full` every checksum.
        temperature: at which the logits will be used; only answers stored with `top_k` depend on it.

    Attributes:
        num_samples: number of images.
        num_labels: number of classes.
        feature_dim: width of the features.
        views: which views there are.
        stored_preprocessing: how the teacher wanted its images.
        fingerprint: hash of the stored answers, 16 hexadecimal digits.

    Raises:
        ValueError: if there are no stored answers, of another format, or damaged ones, naming the files.
    """

    training_images_only = True
    preprocessing: Preprocessing | None = None

    def __init__(
        self,
        name_or_path: str | Path,
        revision: str | None = None,
        verify: str = "sample",
        temperature: float = 1.0,
    ) -> None:
        files = AnswerFiles(name_or_path, revision, verify)
        self.manifest = files.manifest
        plan = self.manifest.plan
        self.num_samples: int = plan.dataset["num_samples"]
        self.num_labels: int = plan.teacher["num_labels"]
        self.feature_dim: int = plan.teacher["feature_dim"]
        names = plan.teacher["id2label"]
        self.id2label: dict[int, str] | None = None if names is None else {int(key): names[key] for key in names}
        self.views = ViewPolicy.from_dict(plan.views)
        self.stored_preprocessing = _preprocessing(plan.preprocessing)
        self.fingerprint = self.manifest.fingerprint
        self.temperature = temperature
        self._answers = StoredAnswers(files)

    def at_temperature(self, temperature: float) -> "CachedTeacher":
        """The same answers, for use at another temperature.

        Raises:
            ValueError: for one that answers stored with `top_k` can't be rebuilt for.
        """
        if self.manifest.plan.storage["top_k"] is not None:
            check_temperature(temperature)
        changed = copy.copy(self)
        changed.temperature = temperature
        return changed

    def __call__(self, batch: Mapping[str, Tensor]) -> TeacherOutput:
        """Answer the images of `sample_index` in their `view` (which may be missing where there is only one).

        Returns:
            Logits `(batch, num_labels)` and features `(batch, feature_dim)`, float32, on the batch's device.

        Raises:
            ValueError: if the batch lacks them, or holds others than those that are stored.
        """
        if "sample_index" not in batch:
            raise ValueError(
                f"The batch has no `sample_index`, only {sorted(batch)}, and stored answers are found by it. Let the "
                "data set's items hold it, or use an `OnlineTeacher`."
            )
        device, index = batch["sample_index"].device, batch["sample_index"].cpu()
        view = batch["view"].cpu() if "view" in batch else torch.zeros_like(index)
        if "view" not in batch and self.views.views > 1:
            raise ValueError(
                f"The batch has no `view`, only {sorted(batch)}, and answers are stored for {self.views.views} views. "
                "Let `DistillationTrainer` make the batches."
            )
        _check_range("sample_index", index, self.num_samples, "the images with stored answers")
        _check_range("view", view, self.views.views, "the stored views")
        tables = self._answers.rows(index.numpy(), view.numpy())
        if "logits" in tables:
            logits = tables["logits"].float()
        else:
            logits = rebuild_logits(
                tables["top_logits"], tables["top_classes"], tables["remainder"], self.num_labels, self.temperature
            )
        return TeacherOutput(logits=logits.to(device), features=tables["features"].float().to(device))

    def check_images(self, dataset: Any) -> None:
        """Make sure that a training data set is the one that the answers are for.

        Raises:
            ValueError: if it is another, with both fingerprints.
        """
        stored, found = self.manifest.plan.dataset, fingerprint(dataset)
        check_repeatable(dataset)
        inner = dataset.dataset if isinstance(dataset, ReplayedDataset) else dataset
        if isinstance(inner, DistillationDataset) and inner.transform.augmentation != self.views.augmentation:
            raise ValueError(
                f"`train_dataset` augments its images by {inner.transform.augmentation}, and the teacher's answers "
                f"are stored for {self.views.augmentation}. Pass the HF `Dataset` itself, and `augmentation`."
            )
        if len(dataset) != self.num_samples or found != stored["fingerprint"]:
            raise ValueError(
                f"The teacher's answers are stored for another data set: {stored['name'] or 'one'} with "
                f"{self.num_samples} images, fingerprint {stored['fingerprint']}; `train_dataset` has {len(dataset)}, "
                f"fingerprint {found}. Expected the same images and labels in the same order. Store the answers for "
                "this data set."
            )

    @classmethod
    def write(
        cls,
        teacher: TeacherSource,
        dataset: Dataset | datasets.Dataset,
        folder: str | Path,
        views: ViewPolicy | None = None,
        storage: Storage | None = None,
        provenance: Provenance | None = None,
        rebuild: bool = False,
        num_workers: int = 0,
        expected_top1: float | None = None,
        measure: Callable[[], dict[str, Any]] | None = None,
    ) -> "CachedTeacher":
        """Ask a teacher about every view of every image, on all processes, and store what it says.

        Interrupted at any moment and called again, it goes on from the last whole file, to the same bytes. A finished
        folder is only checked.

        Args:
            teacher: whom to ask.
            dataset: what will be trained on: an HF `Dataset` of images, or a map-style data set whose items are dicts
                of tensors, with `sample_index` where there is one equal to the row.
            folder: a new folder, or one of the same answers.
            views: which views; the evaluation view of each image where not given.
            storage: how they are stored.
            provenance: names and licences.
            rebuild: write damaged files of a finished folder anew.
            num_workers: processes that prepare images.
            expected_top1: share of the images that the teacher should get right; under half of it is warned about.
            measure: gives what else the manifest's summary holds; called on all processes, if there is work.

        Returns:
            A reader of the folder.

        Raises:
            ValueError: if the folder is of other answers, is being written, or is damaged; if the data set augments
                otherwise or numbers its images otherwise; or if an answer is outside the range of the type.
            OSError: if the disk is full.
        """
        views, storage, provenance = views or ViewPolicy(), storage or Storage(), provenance or Provenance()
        if storage.top_k is not None and storage.top_k >= teacher.num_labels:
            raise ValueError(
                f"`top_k` is {storage.top_k}; expected fewer than the teacher's {teacher.num_labels} classes. "
                "Leave it out to store all logits."
            )
        replayed = _as_seen_by(teacher, dataset, views)
        check_repeatable(replayed)
        weights = getattr(teacher, "weights_sha256", None)
        preprocessing = teacher.preprocessing
        plan = Plan(
            teacher={
                "name": provenance.teacher,
                "revision": provenance.teacher_revision,
                "license": provenance.teacher_license,
                "weights_sha256": weights,
                "num_labels": teacher.num_labels,
                "feature_dim": teacher.feature_dim,
                "id2label": teacher.id2label and {str(key): name for key, name in teacher.id2label.items()},
            },
            preprocessing=None if preprocessing is None else dataclasses.asdict(preprocessing),
            dataset={
                "name": provenance.dataset,
                "license": provenance.dataset_license,
                "fingerprint": fingerprint(replayed),
                "num_samples": len(replayed),
            },
            views=views.as_dict(),
            storage={name: value for name, value in dataclasses.asdict(storage).items() if name != "batch_size"},
            versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        )
        write_answers(
            teacher, replayed, Path(folder), plan, storage.batch_size, rebuild, num_workers, expected_top1, measure
        )
        return cls(folder)


def stored_views(teacher: TeacherSource, wanted: ViewPolicy, number_given: bool) -> ViewPolicy:
    """The views that a teacher's stored answers are for, which have to be those that a run wants.

    Args:
        teacher: one whose answers are stored.
        wanted: the run's views; its seed does not count.
        number_given: whether the run says how many there are.

    Raises:
        ValueError: if the run wants other views, with both values.
    """
    stored = teacher.views if isinstance(teacher, CachedTeacher) else ViewPolicy(seed=wanted.seed)
    pairs = {
        "views": (stored.views, wanted.views if number_given else stored.views),
        "augmentation": (stored.augmentation, wanted.augmentation),
        "mixup": (stored.mixing.mixup, wanted.mixing.mixup),
        "cutmix": (stored.mixing.cutmix, wanted.mixing.cutmix),
    }
    different = [f"`{name}` {there} stored, {here} now" for name, (there, here) in pairs.items() if there != here]
    if different:
        raise ValueError(
            f"The teacher's answers are stored for other views than are trained on: {'; '.join(different)}. Train on "
            "the stored views, store the answers for these, or use an `OnlineTeacher`."
        )
    return stored


def _as_seen_by(teacher: TeacherSource, dataset: Any, views: ViewPolicy) -> ReplayedDataset:
    """The views of a data set, as the teacher wants them."""
    if not is_map_style(dataset):
        raise ValueError(
            f"The data set is a {type(dataset).__name__}, which only yields its items one by one; answers are stored "
            "by row. Pass a map-style data set."
        )
    columns = None
    if isinstance(dataset, DistillationDataset):
        if dataset.transform.augmentation != views.augmentation:
            raise ValueError(
                f"The data set augments its images by {dataset.transform.augmentation}; expected "
                f"{views.augmentation}, as `views` says. Pass the HF `Dataset` itself."
            )
        rows, columns = dataset.rows, (dataset.image_column, dataset.label_column)
    elif isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom":
        if "pixel_values" in dataset.column_names:
            dataset = dataset.with_format("torch")
        else:
            rows, columns = dataset, find_columns(dataset)
    if columns is not None and teacher.preprocessing is None:
        raise ValueError(
            "How the teacher wants its images is not known. Pass `OnlineTeacher(model, processing_class=...)` "
            "with its image processor."
        )
    if columns is not None and teacher.preprocessing is not None:
        transform = ViewTransform(teacher.preprocessing, None, views.augmentation)
        dataset = DistillationDataset(rows, transform, *columns)
    return ReplayedDataset(dataset, views, teacher.num_labels)


def _check_range(name: str, values: Tensor, count: int, meaning: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(
            f"`{name}` is {low if low < 0 else high}; expected 0 to {count - 1}: {meaning}. Train on the data set "
            "that the answers were stored for."
        )


def _preprocessing(content: Mapping[str, Any] | None) -> Preprocessing | None:
    if content is None:
        return None
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Preprocessing(**values)
