"""Training images of several data sets, under the classes of the first."""

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets

from exrep_hf.arguments import DataArguments
from exrep_hf.data.checks import inspect_images, whole_rows
from exrep_hf.data.class_map import Side, numbers_of_each
from exrep_hf.data.classes import encode_labels, label_names
from exrep_hf.data.label_column import with_label_column
from exrep_hf.data.labels import is_missing, with_class_numbers
from exrep_hf.data.loading import check_split, find_columns, load_images


def with_more_images(
    train: Dataset, names: Sequence[str] | None, args: DataArguments, num_proc: int | None
) -> tuple[Dataset, list[bytes], int]:
    """Add the training images of `other_datasets` to those of the first.

    Args:
        train: those of the first, in the columns `image` and `label`.
        names: of its classes, if it has any.
        args: the settings.
        num_proc: number of processes that check images; None: this one.

    Returns:
        All of them; the digests of those that were added; and how many were left out as they can't be decoded.

    Raises:
        ValueError: if one is not found or has no such split, or has classes that the first has not.
    """
    parts, digests, skipped = [train], [], 0
    for name in args.other_datasets:
        rows = _training_images(name, args)
        report = inspect_images(rows, "image", num_proc)
        kept = whole_rows(report, args.skip_broken_images)
        rows, skipped = rows.select(kept), skipped + len(report.broken)
        digests += [report.digests[row] for row in kept]
        parts.append(_with_classes_of(rows, name, train, names, args))
    return concatenate_datasets(parts), digests, skipped


def _training_images(name: str, args: DataArguments) -> Dataset:
    splits = load_images(name)
    check_split(splits, args.train_split, "train_split", name)
    splits, label_column = with_label_column(splits, args.train_split, None, args, False)
    rows = with_class_numbers(encode_labels(splits, label_column)[args.train_split], label_column, repr(name))
    image_column, _ = find_columns(rows, args.image_column_name, label_column)
    names_here = {image_column: "image", label_column: "label"}
    rows = rows.select_columns(list(names_here))
    return rows.rename_columns({old: new for old, new in names_here.items() if old != new})


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
