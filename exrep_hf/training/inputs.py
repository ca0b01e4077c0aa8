"""From the data sets that people pass to the ones that the Trainer walks through."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Literal

import datasets
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data import (
    Augmentation,
    ClassMap,
    DistillationDataset,
    Mixing,
    Preprocessing,
    ViewPolicy,
    ViewTransform,
    check_items,
    check_labels,
    find_columns,
)
from exrep_hf.data.answers import ANSWERS, check_answered_images, check_one_teacher
from exrep_hf.data.checks import is_map_style
from exrep_hf.data.collator import collate_numbered
from exrep_hf.data.datasets import ReplayedDataset, SeededDataset
from exrep_hf.data.extra_images import Extra, check_walk
from exrep_hf.data.item_pixels import PixelRules
from exrep_hf.data.labels import MISSING, usable_labels
from exrep_hf.data.loading import holds_tensors
from exrep_hf.data.rows import parts_of
from exrep_hf.data.seeding import generators_kept
from exrep_hf.data.stream import StreamedImages, is_image_stream
from exrep_hf.data.transport import Normalising
from exrep_hf.teacher import AnsweredCollator, TeacherSource, answer_reader_of, check_views, known_preprocessing
from exrep_hf.training.classes import names_of_data
from exrep_hf.training.default_settings import images_per_step
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
        student: the model.
        classes: which class of a data set is which of the student's.
        items_are_final: whether the items' pixels are those of the batch: a collator of the user's may make others.

    Attributes:
        pixels: what has to hold for them.
        normalising: makes of a batch's pixels what student and teacher take.
    """

    def __init__(
        self,
        preprocessing: Preprocessing | None,
        teacher: TeacherSource | None,
        student: PreTrainedModel,
        classes: ClassMap,
        items_are_final: bool = True,
    ) -> None:
        self.preprocessing = preprocessing
        self.teacher = teacher
        self.student = student
        self.classes = classes
        self.num_labels = classes.student.count
        self.items_are_final = items_are_final
        of_teacher = () if teacher is None else teacher.preprocessing
        self.pixels, self.normalising = PixelRules(preprocessing, of_teacher), Normalising(preprocessing, of_teacher)

    def for_training(
        self,
        dataset: Any,
        args: DistillationArguments,
        augmentation: Augmentation | Literal["preset"] | None,
        extra: Extra | None = None,
    ) -> tuple[Any, Mixing]:
        """Return the finished training data set, and how its batches are still to be mixed.

        A map-style data set comes back as a `SeededDataset`; where there are only some views, which are made again,
        as a `ReplayedDataset`, which mixes its items one by one. Where there are fewer images than a step takes, each
        comes several times in a step, made anew each time.

        Args:
            dataset: as `DistillationTrainer` takes it.
            args: which terms are active, views, mixtures and seeds.
            augmentation: how single images are varied; `preset`: as the preset of `args` does, or as stored answers
                are for.
            extra: which of the images are of none of the classes, if any.

        Raises:
            ValueError: for data that don't fit the models, the settings or the teacher's stored answers.
        """
        seed = args.seed if args.data_seed is None else args.data_seed
        mixing = Mixing(args.mixup, args.cutmix, args.mix_rounds or 1)
        if isinstance(augmentation, str):
            augmentation = self._usual_augmentation(args)
        views, replayed = self._views(ViewPolicy(args.views or 1, seed, augmentation, mixing), args)
        needed = self._needed_keys(args)
        # A collator of the user's gets values as models take them, as one that stacks is not all that there may be.
        mixes_items = replayed and bool(views.mixing)
        normalised = not (views.mixes_pixels if mixes_items else self.items_are_final)
        transform = functools.partial(self._transform, views.augmentation, views.reference, normalised)
        dataset = self._with_transform(
            dataset, "train_dataset", transform, args.needs_teacher, "some" if "labels" in needed else "none", seed
        )
        if is_map_style(dataset):
            dataset = SeededDataset(dataset, views.seed, "sample_index" in needed, extra)
            self._check_extra(dataset, args)
        check_items(dataset, needed, self.num_labels)
        if replayed and dataset is not None:
            dataset = _replayed(dataset, views, self.num_labels if "labels" in needed else None)
            if not self.items_are_final and self._holds_our_pixels(dataset):
                dataset.finish = self.normalising
        if args.needs_teacher and self.teacher is not None and dataset is not None:
            self.teacher.check_images(dataset)
        item = self._check_first(dataset, "train_dataset", args.needs_teacher)
        if args.needs_teacher:
            check_answered_images(item, _variations(dataset, mixing))
        if isinstance(dataset, SeededDataset) and len(dataset):
            set_length_of_epoch(dataset, args, args.train_batch_size)
        _check_batches(args, dataset)
        return dataset, Mixing() if replayed else mixing

    def training_collator(self, collate: Callable[[Any], Any], dataset: Any, args: DistillationArguments) -> Any:
        """Return the collator of training batches: it reads stored answers, and checks rows that a stream gives."""
        reader = answer_reader_of(self.teacher) if self.teacher is not None and args.needs_teacher else None
        collate = collate if reader is None else AnsweredCollator(collate, reader)
        if not args.has_bank or isinstance(dataset, SeededDataset) or not isinstance(dataset, Sized):
            return collate
        return functools.partial(collate_numbered, collate=collate, num_samples=len(dataset))

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

    def _check_extra(self, dataset: SeededDataset, args: DistillationArguments) -> None:
        """Make sure that extra images are of use: somebody answers for them, and for the mixtures that they are in."""
        extra = dataset.extra
        if extra is None:
            return
        check_walk(len(dataset.dataset) - extra.count, extra, args.has_bank)
        if not args.needs_teacher:
            raise ValueError(
                f"There are {extra.count} extra images, and no term follows a teacher: they have no label to learn. "
                "Leave them out (`extra_share` 0), or give `kd_weight` or `feature_weight`."
            )
        if self.teacher is not None and self.teacher.views is not None:
            raise ValueError(
                f"There are {extra.count} extra images, and the teacher's answers are stored, for other images and "
                "mixtures. Pass the teacher itself, or leave the extra images out (`extra_share` 0)."
            )

    def _needed_keys(self, args: DistillationArguments) -> list[str]:
        """Keys that items have to hold, beside `pixel_values`."""
        stored = args.needs_teacher and self.teacher is not None and self.teacher.views is not None
        return ["sample_index"] * bool(args.has_bank or stored) + ["labels"] * args.needs_labels

    def for_evaluation(self, dataset: Any) -> Any:
        """Prepare a data set, or each of a dict of them, for evaluation.

        Raises:
            ValueError: for data that don't fit the models.
        """
        if isinstance(dataset, dict):
            return {name: self.for_evaluation(part) for name, part in dataset.items()}
        check_given(dataset, "eval_dataset")
        transform = functools.partial(self._transform, normalised=not self.items_are_final)
        dataset = self._with_transform(dataset, "eval_dataset", transform, answers=True)
        check_items(dataset, (), self.num_labels, "eval_dataset", may_lack_labels=False)
        self._check_first(dataset, "eval_dataset", self.teacher is not None and self.teacher.views is None)
        return dataset

    def _check_first(self, dataset: Any, name: str, for_teacher: bool) -> Mapping[str, Any]:
        """Look at the first item, as teacher and student will get it, and return it."""
        if not is_map_style(dataset) and not isinstance(dataset, StreamedImages):
            return {}
        with generators_kept():
            item = dataset.first() if isinstance(dataset, StreamedImages) else dataset[0]
        teacher = self.teacher
        # A source that sees neither pixels nor rows has its answers from the batch.
        if for_teacher and teacher is not None and (teacher.preprocessing or teacher.views is not None):
            check_one_teacher(item, type(teacher).__name__, name)
        if self.items_are_final and not self._holds_our_pixels(dataset):
            self.pixels.check_item(item, f"row 0 of `{name}`", for_teacher)
        return item

    def _holds_our_pixels(self, dataset: Any) -> bool:
        """Return whether all items are of transforms for these models, and still to be normalised."""
        inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
        made = [getattr(part, "transform", None) for part in parts_of(inner)]
        return all(
            isinstance(each, ViewTransform)
            and not each.normalised
            and self.normalising.is_for(each.student, each.teachers)
            for each in made
        )

    def _numbers_of_labels(self, names: list[str] | None, what: str) -> tuple[int, ...] | None:
        try:
            return self.classes.numbers_of_labels(names, f"`{what}`")
        except ValueError as error:
            if names is None or what != "train_dataset":
                raise
            raise ValueError(f"{error} {_new_head(names)}") from error

    def _with_transform(
        self,
        dataset: Any,
        what: str,
        make_transform: Callable[[], ViewTransform],
        answers: bool,
        labels_needed: Literal["all", "some", "none"] = "all",
        seed: int = 0,
    ) -> Any:
        """Give an HF `Dataset` of images its transform; other data sets already hold tensors."""
        names = names_of_data(dataset)
        numbers = self._numbers_of_labels(names, what)
        if is_image_stream(dataset):
            return StreamedImages(dataset, make_transform(), labels_needed == "some", numbers, self.num_labels, seed)
        if isinstance(dataset, DistillationDataset) and dataset.numbers == numbers:
            # Prepared already: the Trainer hands over what it was given.
            return dataset
        if not isinstance(dataset, datasets.Dataset) or dataset.format["type"] == "custom":
            _check_as_they_are(numbers, names, what)
            return dataset
        if holds_tensors(dataset):
            _check_as_they_are(numbers, names, what)
            return dataset.with_format("torch")
        image_column, label_column = find_columns(dataset)
        dataset, label_column = usable_labels(dataset, label_column, f"`{what}`", labels_needed, _LABELS_ARE_FOR[what])
        if label_column is not None:
            known = self.num_labels if names is None else len(names)
            check_labels(dataset, label_column, known, may_be_missing=labels_needed != "all")
        answered = [name for name in ANSWERS if answers and name in dataset.column_names]
        return DistillationDataset(dataset, make_transform(), image_column, label_column, numbers, answered)

    def _transform(
        self,
        augmentation: Augmentation | None = None,
        reference: Preprocessing | None = None,
        normalised: bool = False,
    ) -> ViewTransform:
        """Return what makes the tensors of both models from an image."""
        if self.preprocessing is None:
            raise ValueError(
                "How the student wants its images is not known. Pass its image processor as `processing_class`."
            )
        teachers = () if self.teacher is None else known_preprocessing(self.teacher)
        return ViewTransform(self.preprocessing, teachers, augmentation, reference, normalised)


def set_length_of_epoch(dataset: SeededDataset, args: DistillationArguments, batch: int) -> None:
    """Give an epoch so many items that it is whole steps: the last one is filled up from the next walk.

    A step of the few images that are left over would spoil what BatchNorm learns, and costs accuracy.

    Args:
        dataset: the training images.
        args: settings of training.
        batch: images that a process takes at a time.
    """
    per_step = images_per_step(args, dataset.walk, batch)
    whole = math.ceil(dataset.walk / per_step) * per_step
    dataset.length = max(dataset.walk, per_step) if args.dataloader_drop_last else whole


def _new_head(names: Sequence[str]) -> str:
    """Say how a student gets a head for the classes of the data."""
    return (
        "For a student that is to learn these classes alone make a new head: `ExRepForImageClassification."
        f"from_backbone(…, num_labels={len(names)})`; on the command line `--student_new_head`."
    )


def _check_as_they_are(numbers: tuple[int, ...] | None, names: list[str] | None, what: str) -> None:
    """Make sure that labels which are taken as items hold them are the student's numbers."""
    for number, own in enumerate(numbers or ()):
        if number != own:
            assert names is not None
            raise ValueError(
                f"The class {names[number]!r} has number {number} in `{what}` and number {own} in the student, and "
                "labels of such a data set are taken as its items hold them. Number them as the student does "
                "(`dataset.align_labels_with_mapping(student.config.label2id, …)`, or `target_transform`), or pass an "
                "HF `Dataset` of images without a transform."
            )


def _replayed(dataset: Any, views: ViewPolicy, num_labels: int | None) -> ReplayedDataset:
    if not isinstance(dataset, SeededDataset):
        raise ValueError(
            f"`train_dataset` is a {type(dataset).__name__}, which only yields its items one by one; views can be "
            "made again only of rows that can be asked for. Pass a map-style data set, or leave out `views` and "
            "stored answers."
        )
    return ReplayedDataset(dataset.dataset, views, num_labels, dataset.numbered, dataset.extra)


def _check_batches(args: DistillationArguments, dataset: Any) -> None:
    images = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and isinstance(dataset, SeededDataset) and len(dataset) < images:
        raise ValueError(
            f"`train_dataset` has {len(dataset)} images, fewer than one batch of {images}, and `dataloader_drop_last` "
            "leaves incomplete batches out. Lower `per_device_train_batch_size`, or let incomplete batches in."
        )


def _variations(dataset: Any, mixing: Mixing) -> dict[str, Any]:
    """Return what is done to the images of a training data set after an item's other values were read."""
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    made = {part.transform.augmentation for part in parts_of(inner) if isinstance(part, DistillationDataset)}
    varied = {"augmentation": next(iter(made - {None}), None), "mixup": mixing.mixup, "cutmix": mixing.cutmix}
    return {name: value for name, value in varied.items() if value}


def number_of(dataset: Any) -> int | None:
    """Return how many images a data set has, each counted once; None where that is not known."""
    if isinstance(dataset, SeededDataset):
        return len(dataset.dataset)
    return len(dataset) if isinstance(dataset, Sized) else None


def images_in_a_walk(dataset: Any) -> int | None:
    """Return how many images come in one walk through a data set; None where that is not known."""
    return dataset.walk if isinstance(dataset, SeededDataset) else number_of(dataset)


def training_labels(dataset: Any) -> Tensor | None:
    """Return the class of every training image, -1 where it has none, where the data set says so."""
    labels = getattr(dataset.dataset, "labels", None) if isinstance(dataset, SeededDataset) else None
    if labels is None or isinstance(labels, Tensor):
        return labels
    return torch.as_tensor([MISSING if label is None else label for label in labels])


def transform_facts(dataset: Any) -> dict[str, Any]:
    """Return how a training data set varies its images, and how the student sees them; nothing where it is its own."""
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    if not isinstance(inner, DistillationDataset | StreamedImages):
        return {}
    extra = dataset.extra if isinstance(dataset, SeededDataset) else None
    augmentation, student = inner.transform.augmentation, inner.transform.student
    return {
        "augmentation": None if augmentation is None else dataclasses.asdict(augmentation),
        "student_pixels": dataclasses.asdict(student),
        "extra_images": None if extra is None else dataclasses.asdict(extra),
    }


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
