"""Which columns of a data set hold images and labels."""

from datasets import ClassLabel, Dataset, DatasetDict, Image, Value

IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label")


def find_columns(
    dataset: Dataset, image_column_name: str | None = None, label_column_name: str | None = None
) -> tuple[str, str | None]:
    """Finds the image column and the label column, by name or by guess.

    Args:
        dataset: any data set with features.
        image_column_name: `None`: the column `image` or `img`, or the only one that holds images.
        label_column_name: `None`: the column `label`, `labels` or `fine_label`, or the only `ClassLabel` column.

    Returns:
        the two names; the second is `None` where no label column was asked for and none was found.

    Raises:
        ValueError: if a named column is missing, or the image column is not known.
    """
    features = dataset.features
    columns = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    for name, option in ((image_column_name, "image_column_name"), (label_column_name, "label_column_name")):
        if name is not None and name not in features:
            raise ValueError(f"{option} is {name!r}, but the data set has the columns {columns}.")
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    image = image_column_name or _only(images, IMAGE_NAMES)
    if image is None:
        raise ValueError(
            f"the image column is not known: {len(images)} columns hold images; the data set has the columns "
            f"{columns}. Name it with image_column_name."
        )
    if image not in images:
        raise ValueError(
            f"the column {image!r} does not hold images; the data set has the columns {columns}. Name an Image "
            f"column, or declare it with dataset.cast_column({image!r}, datasets.Image())."
        )
    class_labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    named = next((name for name in LABEL_NAMES if name in features), None)
    return image, label_column_name or named or _only(class_labels, LABEL_NAMES)


def encode_labels(splits: DatasetDict, label_column: str) -> DatasetDict:
    """Turns text labels into class numbers, in alphabetical order of all splits' labels together.

    `DatasetDict.class_encode_column` numbers each split on its own, so that a class missing from one split would shift
    the numbers there. Labels that are numbers already are returned as they are.

    Raises:
        ValueError: if a label is missing.
    """
    feature = next(iter(splits.values())).features[label_column]
    if feature not in (Value("string"), Value("large_string")):
        return splits
    names: set[str] = set()
    for split, rows in splits.items():
        labels = rows.unique(label_column)
        if None in labels:
            raise ValueError(
                f"a label in the column {label_column!r} of the split {split!r} is missing: remove the rows "
                "without label."
            )
        names.update(labels)
    return splits.cast_column(label_column, ClassLabel(names=sorted(names)))


def _only(candidates: list[str], preferred: tuple[str, ...]) -> str | None:
    by_name = next((name for name in preferred if name in candidates), None)
    return by_name or (candidates[0] if len(candidates) == 1 else None)


def _kind(feature: object) -> str:
    return str(feature.dtype) if isinstance(feature, Value) else type(feature).__name__
