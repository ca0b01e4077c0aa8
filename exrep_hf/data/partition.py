"""All images of a data set: which everybody may train on, which only the teacher saw, which nobody trains on."""

import math
from dataclasses import dataclass
from functools import cached_property

from datasets import Dataset, DatasetDict, concatenate_datasets

from exrep_hf.arguments import DataArguments
from exrep_hf.data.classes import encode_labels, label_names
from exrep_hf.data.duplicates import ImageCopies
from exrep_hf.data.extra_images import WithExtraImages
from exrep_hf.data.label_column import NEEDS_LABELS, with_label_column
from exrep_hf.data.labels import check_labelled, check_two_classes, is_missing, unlabelled_rows, with_class_numbers
from exrep_hf.data.loading import check_split, find_columns, load_images
from exrep_hf.data.more_datasets import with_more_images
from exrep_hf.data.splits import split_public_private, train_val_split
from exrep_hf.data.usable_images import usable_images


@dataclass
class DataPartition:
    """All images of a data set, in the columns `image` and `label`, and who may see which.

    Attributes:
        args: the settings it was loaded by.
        train: all training images: public, private, and those that `evaluate_on` holds out. Labels may be missing.
        test: what nobody is trained on; empty where there is nothing to evaluate on, and nothing is to be evaluated.
        names: names of the classes, if known.
        skipped: images left out because they can't be decoded.
        test_split: name of the split that `test` is all of; None where it is a part of one.
        test_from: name of the split that `test` is taken from.
        extra: images of none of the classes, in the column `image`, if there are any.
    """

    args: DataArguments
    train: Dataset
    test: Dataset
    names: list[str] | None
    skipped: int
    test_split: str | None = None
    test_from: str = "test"
    extra: Dataset | None = None

    @cached_property
    def _seen_and_validation(self) -> tuple[Dataset, Dataset]:
        """What may be trained on, and what is held out of it: the same for every seed, as all have one teacher."""
        args = self.args
        if args.evaluate_on == "test":
            return self.train, self.train.select([])
        public = len(self.train) - self._share_of_private if args.num_public is None else args.num_public
        given = f"`validation_fraction` is {args.validation_fraction}"
        return train_val_split(self.train, math.ceil(args.validation_fraction * public), 0, "label", given)

    @property
    def _share_of_private(self) -> int:
        return math.ceil(self.args.private_fraction * len(self.train))

    def _public_and_private(self, seed: int) -> tuple[Dataset, Dataset]:
        args, (seen, validation) = self.args, self._seen_and_validation
        private: float | int = args.private_fraction
        if args.num_public is not None:
            # The validation images are public ones.
            private = len(self.train) - args.num_public
        elif len(validation):
            private = self._share_of_private
        if private < 0:
            raise ValueError(
                f"`num_public` is {args.num_public}; expected at most {len(self.train)}, all training images."
            )
        if not private:
            return seen, seen.select([])
        share = args.num_public is None
        given = f"`private_fraction` is {args.private_fraction}" if share else f"`num_public` is {args.num_public}"
        return split_public_private(seen, private, seed, "label", given)

    @property
    def teacher_images(self) -> Dataset:
        """What a teacher is trained on here: all training images but those that students are judged on."""
        return self._seen_and_validation[0]

    @property
    def num_classes(self) -> int:
        """Number of classes: of names where there are any, else up to the largest label; 0 without any label."""
        labels = [*self.train["label"], *self.test["label"]]
        highest = max((label for label in labels if not is_missing(label)), default=-1)
        return len(self.names) if self.names else highest + 1

    def in_words(self) -> str:
        """Return how many images there are."""
        without = len(unlabelled_rows(self.train, "label"))
        told = f" ({without} without a label)" if without else ""
        named = " and ".join(filter(None, [self.args.dataset, *self.args.other_datasets]))
        held_out = self.test_from == self.args.train_split and len(self.test) > 0
        where = ", which were held out: there is no test split" if held_out else ""
        return f"{named}: {len(self.train)} training images{told}, {len(self.test)} test images{where}"

    def num_private(self, seed: int) -> int:
        """Return how many training images only the teacher sees."""
        return len(self._public_and_private(seed)[1])

    def parts(self, seed: int) -> tuple[Dataset, Dataset]:
        """Return the public images that a student is trained on under this seed, and the images it is evaluated on."""
        public, _ = self._public_and_private(seed)
        return public, self.test if self.args.evaluate_on == "test" else self._seen_and_validation[1]

    @property
    def evaluated_split(self) -> str | None:
        """The split that a student is evaluated on, where that is the whole of one."""
        return self.test_split if self.args.evaluate_on == "test" else None

    @property
    def evaluated_part(self) -> str:
        """What a student is evaluated on: a whole split by its name, or `part of` one."""
        source = self.test_from if self.args.evaluate_on == "test" else self.args.train_split
        return self.evaluated_split or f"part of {source}"

    def training_images(self, seed: int, data_args: DataArguments) -> Dataset:
        """Return what an arm is trained on: the public images; with `train_on: all` the private ones too."""
        public, _ = self.parts(seed)
        if data_args.train_on == "public":
            return public
        return concatenate_datasets([public, self._public_and_private(seed)[1]])

    def training_set(self, seed: int, data_args: DataArguments, follows_teacher: bool) -> Dataset | WithExtraImages:
        """Return the training images of an arm, with the extra ones where there are some, and it follows a teacher."""
        images = self.training_images(seed, data_args)
        if self.extra is None or not follows_teacher:
            return images
        return WithExtraImages(images, self.extra, data_args.extra_share)


def load_partition(
    args: DataArguments, num_proc: int | None = None, may_be_path: bool = True, is_evaluated: bool = True
) -> DataPartition:
    """Load and check the data set that the settings name.

    Args:
        args: the settings.
        num_proc: as in `look_at_images`.
        may_be_path: whether `dataset` may name something local.
        is_evaluated: whether somebody will be evaluated, which takes images with labels.

    Raises:
        ValueError: if it is not found, lacks a column or split, or holds images that can't be decoded, or, with
            `check_images: all`, are in both parts; or if a label is missing that an evaluation needs.
    """
    assert args.dataset is not None
    config, folder = args.dataset_config_name, args.data_dir
    splits = load_images(args.dataset, config_name=config, data_dir=folder, may_be_path=may_be_path)
    check_split(splits, args.train_split, "train_split", args.dataset)
    test_split = _test_split(splits, args)
    splits, label_column = with_label_column(splits, args.train_split, test_split, args, is_evaluated)
    parts = _train_and_test(encode_labels(splits, label_column), test_split, label_column, args, is_evaluated)
    checked, digests, skipped = [], [], 0
    for part, limit in zip(parts, (args.max_train_samples, args.max_eval_samples), strict=True):
        if limit is not None and limit < len(part):
            part = part.shuffle(seed=0).select(range(limit))
        image_column, _ = find_columns(part, args.image_column_name, label_column)
        part, own, left_out = usable_images(
            part, image_column, label_column, args.look, args.skip_broken_images, num_proc
        )
        checked.append(part)
        digests.append(own)
        skipped += left_out
    train, test = checked
    names = label_names(train, "label") or _given_names(train, args)
    if args.other_datasets:
        train, more_digests, left_out = with_more_images(train, names, args, num_proc)
        digests[0], skipped = [*digests[0], *more_digests], skipped + left_out
    copies = ImageCopies(args.check_images == "all", repr(args.dataset))
    copies.between(train, digests[0], test, digests[1])
    extra = None
    if args.extra_images is not None and args.extra_share:
        extra, extra_digests, left_out = _extra_images(args, num_proc)
        ImageCopies(args.check_images == "all", repr(args.extra_images)).between(
            extra, extra_digests, test, digests[1]
        )
        skipped += left_out
    if args.evaluate_on == "validation":
        copies.within(train, digests[0])
    whole = (
        test_split if test_split is not None and len(test) and args.max_eval_samples is None and not skipped else None
    )
    check_two_classes(names, train, repr(args.dataset))
    return DataPartition(args, train, test, names, skipped, whole, test_split or args.train_split, extra)


def _given_names(train: Dataset, args: DataArguments) -> list[str] | None:
    names, labels = args.class_names, [label for label in train["label"][:] if label is not None]
    if names is not None and (largest := max(labels, default=0)) >= len(names):
        raise ValueError(
            f"`class_names` has {len(names)} names, and {args.dataset!r} has labels up to {largest}; expected a name "
            "for each, in the order of the labels. Add those that lack."
        )
    return names


def _extra_images(args: DataArguments, num_proc: int | None) -> tuple[Dataset, list[bytes], int]:
    """Return all images of the data set that `extra_images` names, their digests, and how many were left out."""
    assert args.extra_images is not None
    parts, skipped = [], 0
    digests: list[bytes] = []
    for rows in load_images(args.extra_images).values():
        rows, own, left_out = usable_images(
            rows, find_columns(rows)[0], None, args.look, args.skip_broken_images, num_proc
        )
        parts.append(rows)
        digests += own
        skipped += left_out
    return concatenate_datasets(parts), digests, skipped


def _test_split(splits: DatasetDict, args: DataArguments) -> str | None:
    """Return the name of the split that nobody trains on; None: a part of the training images is held out."""
    test_split = args.test_split or next((name for name in ("test", "validation") if name in splits), None)
    if test_split is not None:
        check_split(splits, test_split, "test_split", str(args.dataset))
    return test_split


def _train_and_test(
    splits: DatasetDict, test_split: str | None, label_column: str, args: DataArguments, is_evaluated: bool
) -> tuple[Dataset, Dataset]:
    """Return both parts, of which the second is all labelled; without a split for it, it is held out."""
    used = []
    for split in filter(None, (args.train_split, test_split)):
        used.append(with_class_numbers(splits[split], label_column, f"the split {split!r} of {args.dataset!r}"))
    train, last = used[0], used[-1]
    has_labels = len(unlabelled_rows(last, label_column)) < len(last)
    if not has_labels and not is_evaluated:
        return train, train.select([])
    if test_split is not None or not has_labels:
        name = f"the split {test_split or args.train_split!r} of {args.dataset!r}"
        check_labelled(last, label_column, name, NEEDS_LABELS)
    if test_split is not None:
        return train, last
    return train_val_split(
        train, args.train_val_split, 0, label_column, f"`train_val_split` is {args.train_val_split}"
    )
