"""Labels that are stored in other ways than as class numbers, and labels that are missing."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as PILImage

from exrep_hf.arguments import DataArguments
from exrep_hf.data.labels import class_of_most, usable_labels, with_class_numbers
from exrep_hf.data.partition import load_partition
from exrep_hf.data.splits import split_public_private, train_val_split


def rows(labels: list[Any], kind: Any) -> Dataset:
    """As many images with these labels; the level of an image is its row."""
    images = [PILImage.fromarray(np.full((2, 2), row, np.uint8)) for row in range(len(labels))]
    return Dataset.from_dict({"image": images, "label": labels}, features=Features(image=Image(), label=kind))


def partition(labels: list[Any], kind: Any, folder: Path) -> Any:
    rows(labels, kind).save_to_disk(folder / "saved")
    return load_partition(DataArguments(dataset=str(folder / "saved"), train_val_split=0.5))


@pytest.mark.parametrize(
    ("labels", "kind", "numbers"),
    [
        ([1.0, 0.0, 1.0, 0.0], Value("float64"), [1, 0, 1, 0]),
        ([True, False, True, False], Value("bool"), [1, 0, 1, 0]),
        (["b", "a", "b", "a"], Value("string"), [1, 0, 1, 0]),
        ([1, 0, 1, 0], Value("uint8"), [1, 0, 1, 0]),
    ],
    ids=str,
)
def test_labels_of_any_kind_become_class_numbers(
    labels: list[Any], kind: Any, numbers: list[int], tmp_path: Path
) -> None:
    """Tables that pandas wrote hold decimals, others true and false: each image keeps its class."""
    data = partition(labels, kind, tmp_path)
    for part in (data.train, data.test):
        assert len(part) == 2
        for row in part:
            assert type(row["label"]) is int and row["label"] == numbers[np.asarray(row["image"])[0, 0]]


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        (
            [[0], [1], [0, 1], [1]],
            List(Value("int64")),
            "'label' of the split 'train' of .* holds a List in each row; exp",
        ),
        (
            [0.0, 0.5, 1.0, 1.0],
            Value("float32"),
            "label in row 1, column 'label', of .* is 0.5; expected the number of",
        ),
        (
            [0.0, 1.0, float("nan"), 1.0],
            Value("float32"),
            "label in row 2, column 'label', of .* is nan; expected the",
        ),
        ([None] * 4, Value("null"), r"no label column, .*evaluated by their labels"),
        ([-1] * 4, ClassLabel(names=["a", "b"]), "4 of 4 labels .* are missing .*, the first in row 0; .*evaluated"),
        ([3, 3, 3, 3], Value("int64"), "has one class only, 3; expected two or more"),
    ],
    ids=str,
)
def test_labels_that_are_no_classes(labels: list[Any], kind: Any, message: str, tmp_path: Path) -> None:
    """A study refuses them in one sentence, before training."""
    with pytest.raises(ValueError, match=message):
        partition(labels, kind, tmp_path)


@pytest.mark.parametrize("missing", [None, -1])
def test_what_is_held_out_has_labels(missing: int | None, tmp_path: Path) -> None:
    """Nothing can be judged on an image without a label; public and private ones share these by proportion."""
    labels = [missing if row % 3 else row % 2 for row in range(36)]
    given = rows(labels, Value("int64"))
    train, held_out = train_val_split(given, 0.5, 0, "label")
    assert sorted(held_out["label"][:]) == [0] * 3 + [1] * 3 and len(train) == 30
    public, private = split_public_private(given, 12, 0, "label")
    assert len(private) == 12 and sum(label in (0, 1) for label in private["label"]) == 4
    with pytest.raises(ValueError, match="No row of 24 has a label in the column 'label'"):
        train_val_split(given.filter(lambda row: row["label"] not in (0, 1)), 0.5, 0, "label")
    data = partition(labels, Value("int64"), tmp_path)
    assert data.num_classes == 2 and sorted(set(data.test["label"])) == [0, 1] and len(data.train) == 30


def test_unlabelled_images_beside_a_labelled_split(tmp_path: Path) -> None:
    """Their column of labels may be missing, or empty; classes and their names are those of the other split."""
    names = ClassLabel(names=["a", "b"])
    test, none = rows([1, 0, 1], names), rows([None] * 4, Value("null"))
    for number, train in enumerate((none, none.remove_columns("label"))):
        DatasetDict(train=train, test=test).save_to_disk(tmp_path / str(number))
        data = load_partition(DataArguments(dataset=str(tmp_path / str(number))))
        assert data.train["label"][:] == [None] * 4 and data.names == ["a", "b"]
        assert data.train.features == data.test.features


def test_the_class_of_a_mixture() -> None:
    """A third of an ant among what has no label is no ant; of a whole label the largest part counts."""
    shares = torch.tensor([[0.2, 0.8], [0.5, 0.0], [0.3, 0.0], [0.3, 0.45], [0.0, 0.0]])
    assert class_of_most(shares).tolist() == [1, 0, -1, 1, -1]
    assert class_of_most(torch.tensor([2, -1])).tolist() == [2, -1]


def test_missing_labels_where_not_all_are_needed(caplog: pytest.LogCaptureFixture) -> None:
    """Those that are there are used; where there are none, there is no column of labels."""
    given, none = rows([1, None, -1, 0], Value("int64")), rows([None, -1], Value("int64"))
    needs: tuple[Any, ...] = ("some", "none")
    for needed in needs:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "exrep_hf"):
            assert usable_labels(given, "label", "`train_dataset`", needed) == (given, "label")
        assert "2 of 4 rows of `train_dataset` have no label" in caplog.text
    assert usable_labels(none, "label", "x", "none") == (none, None)
    cases: tuple[Any, ...] = ((given, "all", "2 of 4"), (none, "all", "2 of 2"), (none, "some", "2 of 2"))
    for each, needed, told in cases:
        with pytest.raises(ValueError, match=f"{told} labels .* of `x` are missing .*: they are needed. Leave"):
            usable_labels(each, "label", "`x`", needed, why="they are needed.")
    whole = rows([1, 0], ClassLabel(names=["a", "b"]))
    assert usable_labels(whole, "label", "x", "none") == (whole, "label")
    assert with_class_numbers(whole, "label", "x") is whole
