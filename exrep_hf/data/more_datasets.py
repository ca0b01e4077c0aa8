"""Training images of several data sets, under the classes of the first."""

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets

from exrep_hf.arguments import DataArguments
from exrep_hf.data.class_map import Side, numbers_of_each
from exrep_hf.data.classes import encode_labels, label_names
from exrep_hf.data.label_column import with_label_column
from exrep_hf.data.labels import is_missing, with_class_numbers
from exrep_hf.data.loading import check_split, find_columns, load_images
from exrep_hf.data.usable_images import usable_images


def with_more_images(
    train: Dataset, names: Sequence[str] | None, args: DataArguments, num_proc: int | None
) -> tuple[Dataset, list[bytes], int]:
    """Add the training images of `other_datasets` to those of the first.

    Args:
        train: those of the first, in the columns `image` and `label`.
        names: of its classes, if it has any.
        args: the settings.
        num_proc: as in `look_at_images`.

    Returns:
        All of them; the digests of those that were added; and how many were left out as they can't be decoded.

    Raises:
        ValueError: if one is not found or has no such split, or has classes that the first has not.
    """
    parts, skipped = [train], 0
    digests: list[bytes] = []
    for name in args.other_datasets:
        rows, own, left_out = _training_images(name, args, num_proc)
        digests, skipped = digests + own, skipped + left_out
        parts.append(_with_classes_of(rows, name, train, names, args))
    return concatenate_datasets(parts), digests, skipped


def _training_images(name: str, args: DataArguments, num_proc: int | None) -> tuple[Dataset, list[bytes], int]:
    splits = load_images(name)
    check_split(splits, args.train_split, "train_split", name)
    splits, label_column = with_label_column(splits, args.train_split, None, args, False)
    rows = with_class_numbers(encode_labels(splits, label_column)[args.train_split], label_column, repr(name))
    image_column, _ = find_columns(rows, args.image_column_name, label_column)
    return usable_images(rows, image_column, label_column, args.look, args.skip_broken_images, num_proc)


def _with_classes_of(
    rows: Dataset, name: str, train: Dataset, names: Sequence[str] | None, args: DataArguments
) -> Dataset:
    """Number the classes of one data set as the first does."""
    own, labels = label_names(rows, "label"), rows.with_format(None)["label"][:]
    has_labels = not all(map(is_missing, labels))
    if has_labels and (own is None) != (names is None):
        first, without = repr(args.dataset), repr(name) if own is None else repr(args.dataset)
        raise ValueError(
            f"The classes of {first} and {name!r} can't be matched: those of {without} have no names. Name them "
            "(class folders, a `ClassLabel` column, texts), or take the labels of the second away."
        )
    numbers = None
    if has_labels and own is not None and names is not None:
        numbers = numbers_of_each(Side.of_data(repr(name), own), Side.of_data(repr(args.dataset), names))
    renumbered = [None if is_missing(label) else label if numbers is None else numbers[label] for label in labels]
    feature = train.features["label"]
    return rows.remove_columns("label").add_column("label", renumbered, feature=feature).cast(train.features)
