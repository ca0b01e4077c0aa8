"""A teacher whose answers were computed once and stored."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from torch import Tensor, nn
from torch.utils.data import Dataset

from exrep_hf.arguments.class_rule import ClassRule, read_class_rule
from exrep_hf.data import DistillationDataset, Preprocessing, ViewPolicy
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.fingerprint import check_repeatable, fingerprint
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.cache import BatchAnswers, Plan, Provenance, Storage, write_answers
from exrep_hf.teacher.cache.answer_files import AnswerFiles
from exrep_hf.teacher.cache.asked_images import images_to_ask_about
from exrep_hf.teacher.cache.top_k import check_temperature, rebuild_logits
from exrep_hf.teacher.feature_definition import check_stored_features, stored_definition
from exrep_hf.teacher.head import HeadTeacher
from exrep_hf.teacher.head_file import HEAD_NAME
from exrep_hf.teacher.identity import teacher_sha256
from exrep_hf.teacher.reading_ahead import AnswerReader
from exrep_hf.teacher.source import TeacherSource

# What computes answers and pixels; of other packages they don't depend.
_PACKAGES = ("torch", "transformers", "timm", "torchvision", "pillow")


class CachedTeacher:
    """Logits and features of every view of every training image, read from what `write` stored.

    Answers are found by `sample_index` and `view`, so batches have to hold them; `DistillationTrainer` sees to it that
    the student gets the views that the answers are for. Only the rows of a batch are read, in training by the
    loader's workers.

    Args:
        name_or_path: a folder that `write` or `recipes/cache_teacher.py` made, or the name of a data set on the Hub.
            From there each view is downloaded when it is first needed.
        revision: branch, tag or commit on the Hub.
        verify: `sample` checks sizes and some checksums, `full` every checksum.

    Attributes:
        num_samples: number of images.
        num_labels: number of classes; None: there are no logits.
        feature_dim: width of the features; None: there are none.
        preprocessing: empty: it sees no images.
        stored_preprocessing: how the teacher wanted each of its sets of pixels.
        views: which views there are.
        fingerprint: hash of the stored answers, 16 hexadecimal digits.

    Raises:
        ValueError: if there are no stored answers, of another format, of features that are read otherwise, or damaged
            ones, naming the files.
    """

    preprocessing: tuple[Preprocessing | None, ...] = ()

    def __init__(self, name_or_path: str | Path, revision: str | None = None, verify: str = "sample") -> None:
        files = AnswerFiles(name_or_path, revision, verify)
        self.manifest = files.manifest
        plan = self.manifest.plan
        check_stored_features(plan.teacher, files.name)
        self.num_samples: int = plan.dataset["num_samples"]
        self.num_labels: int | None = plan.teacher.get("num_labels")
        self.feature_dim: int | None = plan.teacher.get("feature_dim")
        names = plan.teacher.get("id2label")
        self.id2label: dict[int, str] | None = None if names is None else {int(key): names[key] for key in names}
        try:
            self.stored_preprocessing = _read_preprocessing(plan.preprocessing)
            self.views = ViewPolicy.from_dict(plan.views).seen_by(self.stored_preprocessing)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"The stored answers of {files.name!r} say nothing that can be read about their views "
                f"({error!r:.300}). Store them again."
            ) from error
        self.fingerprint = self.manifest.fingerprint
        self._answers = BatchAnswers(files, self.views.views)

    def networks(self) -> tuple[nn.Module, ...]:
        """Return none: the answers are there already."""
        return ()

    def check_temperature(self, temperature: float) -> None:
        """Make sure that the stored answers can be used at a temperature.

        Raises:
            ValueError: for one that answers stored with `top_k` can't be rebuilt for.
        """
        if self.manifest.plan.storage["top_k"] is not None:
            check_temperature(temperature)

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        """Answer the images of `sample_index` in their `view` (which may be missing where there is only one).

        Where the answers were read with the batch, by `answer_reader`, nothing is waited for.

        Args:
            batch: with `sample_index` `(batch,)`, and `view` `(batch,)`.
            temperature: what the logits will be divided by; only answers stored with `top_k` depend on it.

        Returns:
            Logits `(batch, num_labels)` and features `(batch, feature_dim)`, those that are stored, float32, on the
            batch's device.

        Raises:
            ValueError: if the batch lacks them, or holds others than those that are stored; if what is stored is not
                finite; or for a temperature that the logits can't be rebuilt for.
        """
        tables = self._answers.tables(batch)
        features = tables.get("features")
        return TeacherOutput(
            logits=self._logits(tables, temperature),
            features=None if features is None else features.float(),
        )

    def _logits(self, tables: Mapping[str, Tensor], temperature: float) -> Tensor | None:
        if self.num_labels is None:
            return None
        if "logits" in tables:
            return tables["logits"].float()
        stored = (tables["top_logits"], tables["top_classes"], tables["remainder"])
        return rebuild_logits(*stored, self.num_labels, temperature)

    def answer_reader(self) -> AnswerReader:
        """Return what reads the answers to a batch in the loader's workers."""
        return self._answers

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
        classes: ClassRule | str | Path = "names",
    ) -> "CachedTeacher":
        """Ask a teacher about every view of every image, on all processes, and store its logits and features.

        Of a teacher that gives only one of them that one is stored. Interrupted at any moment and called again, it
        goes on from the last whole file, to the same bytes. A finished folder is only checked.

        Args:
            teacher: whom to ask.
            dataset: what will be trained on: an HF `Dataset` of images, or a map-style data set whose items are dicts
                of tensors, with `sample_index` where there is one equal to the row.
            folder: a new folder, or one of the same answers.
            views: which views; the evaluation view of each image where not given.
            storage: how they are stored.
            provenance: names and licences.
            rebuild: write damaged files of a finished folder again.
            num_workers: processes that prepare images.
            expected_top1: share of the images that the teacher should get right; under half of it is warned about.
            measure: gives what else the manifest's summary holds; called on all processes, if there is work.
            classes: how the classes of data set and teacher are matched, as in `DistillationTrainer`.

        Returns:
            A reader of the folder.

        Raises:
            ValueError: if the folder is of other answers, is being written, or is damaged; if the teacher's answers
                are stored already, or are neither logits nor features; if there are no logits to store `top_k` of; if
                the data set augments otherwise or numbers its images otherwise; or if an answer is not finite, or
                outside the range of the type.
            OSError: if the disk is full.
        """
        views, storage, provenance = views or ViewPolicy(), storage or Storage(), provenance or Provenance()
        _check_storable(teacher, storage)
        replayed = images_to_ask_about(teacher, dataset, views, read_class_rule(classes))
        check_repeatable(replayed)
        headed = teacher if isinstance(teacher, HeadTeacher) else None
        head = None if headed is None else headed.facts()
        place = Path(folder) / HEAD_NAME
        plan = Plan(
            teacher={
                "name": provenance.teacher,
                "revision": provenance.teacher_revision,
                "license": provenance.teacher_license,
                "weights_sha256": teacher_sha256(teacher),
                "num_labels": teacher.num_labels,
                "feature_dim": teacher.feature_dim,
                "id2label": teacher.id2label and {str(key): name for key, name in teacher.id2label.items()},
                **stored_definition(teacher, provenance.teacher, teacher.num_labels or 0),
                **({} if head is None else {"head": head}),
            },
            preprocessing=_written_preprocessing(teacher.preprocessing),
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
            teacher,
            replayed,
            Path(folder),
            plan,
            storage.batch_size,
            rebuild,
            num_workers,
            expected_top1,
            measure,
            None if headed is None else lambda: headed.save_head(place),
        )
        return cls(folder)


def _check_storable(teacher: TeacherSource, storage: Storage) -> None:
    if teacher.views is not None:
        raise ValueError(
            f"The answers of the teacher, a {type(teacher).__name__}, are stored already. Pass the network, as an "
            "`OnlineTeacher`."
        )
    if teacher.num_labels is None and teacher.feature_dim is None:
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, gives neither logits nor features; expected one of them to "
            "store. Pass another teacher."
        )
    if storage.top_k is None:
        return
    if teacher.num_labels is None:
        raise ValueError(
            f"`top_k` is {storage.top_k}, and the teacher, a {type(teacher).__name__}, gives no logits, of which it "
            "stores the largest. Leave it out."
        )
    if storage.top_k >= teacher.num_labels:
        raise ValueError(
            f"`top_k` is {storage.top_k}; expected fewer than the teacher's {teacher.num_labels} classes. Leave it "
            "out to store all logits."
        )


def _written_preprocessing(entries: Sequence[Preprocessing | None]) -> Any:
    """JSON's form: of one set of pixels its fields, of several a list of them."""
    written = [entry and dataclasses.asdict(entry) for entry in entries]
    return written if len(written) > 1 else next(iter(written), None)


def _read_preprocessing(content: Any) -> tuple[Preprocessing | None, ...]:
    entries = content if isinstance(content, list) else [content]
    return tuple(None if entry is None else _preprocessing(entry) for entry in entries)


def _preprocessing(content: Mapping[str, Any]) -> Preprocessing:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Preprocessing(**values)
