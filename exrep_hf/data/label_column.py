"""Which column of a data set holds the labels, where not every split has one."""

from datasets import ClassLabel, Dataset, DatasetDict, Value
from datasets.features.features import FeatureType

from exrep_hf.arguments import DataArguments
from exrep_hf.data.loading import find_columns

NEEDS_LABELS = (
    "students are evaluated by their labels. Put labelled images beside those that are trained on (a folder `test/` "
    "with class folders beside `train/`), or name another split with `test_split`."
)


def with_label_column(
    splits: DatasetDict, train_split: str, test_split: str | None, args: DataArguments, is_evaluated: bool
) -> tuple[DatasetDict, str]:
    """Find the column of labels; a split of these two without one gets it, with labels that are all missing.

    Args:
        splits: all of a data set.
        train_split: what is trained on.
        test_split: what is evaluated on; None: a part of the former.
        args: names of the columns, where they are given.
        is_evaluated: whether there have to be labels.

    Returns:
        The splits that have such a column, and its name.

    Raises:
        ValueError: if a column that is named does not exist, or there is none and labels are needed.
    """
    used = [train_split, *([] if test_split is None else [test_split])]
    found = {split: _label_column(splits[split], args) for split in used}
    asked = args.label_column_name
    if asked is not None and not any(found.values()):
        find_columns(splits[train_split], args.image_column_name, asked)
    column = next(filter(None, found.values()), None)
    if column is None and is_evaluated:
        raise ValueError(
            f"{args.dataset!r} has no label column, only {splits[train_split].column_names}; {NEEDS_LABELS} Or name "
            "the column with `label_column_name`."
        )
    feature = next((splits[split].features[name] for split, name in found.items() if name is not None), None)
    column = column or "label"
    filled = {split: _with_missing(splits[split], column, feature or Value("int64")) for split in used}
    others = {split: rows for split, rows in splits.items() if split not in used and column in rows.column_names}
    return DatasetDict(filled | others), column


def _label_column(rows: Dataset, args: DataArguments) -> str | None:
    """Return the column of labels of a split; None where there is none, or it is empty."""
    asked = args.label_column_name
    if asked is None:
        _, column = find_columns(rows, args.image_column_name)
    else:
        column = asked if asked in rows.column_names else None
    return None if column is None or rows.features[column] == Value("null") else column


def _with_missing(rows: Dataset, column: str, feature: FeatureType) -> Dataset:
    if column in rows.column_names and rows.features[column] != Value("null"):
        return rows
    rows = rows.remove_columns(column) if column in rows.column_names else rows
    kept = feature if isinstance(feature, ClassLabel | Value) else Value("int64")
    return rows.add_column(column, [None] * len(rows), feature=kept)
