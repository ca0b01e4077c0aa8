import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage

from exrep_hf.data.classes import encode_labels
from exrep_hf.data.loading import find_columns

LABEL = ClassLabel(names=["a", "b"])


def table(**columns: object) -> Dataset:
    picture = PILImage.fromarray(np.zeros((2, 2), dtype=np.uint8))
    values: dict[type, object] = {Image: picture, ClassLabel: 0}
    rows = {name: [values.get(type(feature), "x")] for name, feature in columns.items()}
    return Dataset.from_dict(rows, features=Features(columns))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": Image(), "label": LABEL}, ("image", "label")),
        ({"img": Image(), "fine_label": LABEL, "coarse_label": LABEL}, ("img", "fine_label")),
        ({"photo": Image(), "species": LABEL}, ("photo", "species")),
        ({"image": Image(), "mask": Image(), "labels": Value("string")}, ("image", "labels")),
        ({"image": Image(), "caption": Value("string")}, ("image", None)),
        ({"image": Image(), "a": LABEL, "b": LABEL}, ("image", None)),
    ],
)
def test_columns_are_guessed(columns: dict, expected: tuple) -> None:
    """Prevents training on the mask, or on the coarse label, of well-known data sets."""
    assert find_columns(table(**columns)) == expected


def test_named_columns_win() -> None:
    """Prevents a guess that overrules the user."""
    rows = table(image=Image(), thumbnail=Image(), label=LABEL, other=LABEL)
    assert find_columns(rows, "thumbnail", "other") == ("thumbnail", "other")


def test_missing_columns_are_listed() -> None:
    """Prevents a KeyError without a hint at what there is."""
    rows = table(left=Image(), right=Image(), text=Value("string"))
    with pytest.raises(ValueError, match=r"2 columns hold images.*left \(Image\), right \(Image\), text \(string\)"):
        find_columns(rows)
    with pytest.raises(ValueError, match="`image_column_name` is 'photo', but the data set has the columns left"):
        find_columns(rows, "photo")
    with pytest.raises(ValueError, match="`label_column_name` is 'class'"):
        find_columns(rows, "left", "class")
    with pytest.raises(ValueError, match="'text' does not hold images"):
        find_columns(rows, "text")


def test_text_labels_get_the_same_numbers_in_every_split() -> None:
    """Prevents a test split without the class 'ant' from counting 'bee' as class 0."""
    splits = DatasetDict(
        train=Dataset.from_dict({"label": ["cat", "ant", "bee"]}), test=Dataset.from_dict({"label": ["cat", "bee"]})
    )
    encoded = encode_labels(splits, "label")
    assert encoded["train"]["label"][:] == [2, 0, 1]
    assert encoded["test"]["label"][:] == [2, 1]
    assert encoded["test"].features["label"].names == ["ant", "bee", "cat"]


def test_other_labels_are_left_alone() -> None:
    """Prevents renumbering classes that already have numbers."""
    numbers = DatasetDict(train=Dataset.from_dict({"label": [7, 3]}))
    assert encode_labels(numbers, "label")["train"]["label"][:] == [7, 3]
    named = DatasetDict(train=table(label=LABEL))
    assert encode_labels(named, "label")["train"].features["label"].names == ["a", "b"]


def test_missing_text_label_is_no_class() -> None:
    """Prevents a class made of missing labels."""
    encoded = encode_labels(DatasetDict(train=Dataset.from_dict({"label": ["b", None, "a"]})), "label")["train"]
    assert encoded["label"][:] == [1, None, 0] and encoded.features["label"].names == ["a", "b"]
