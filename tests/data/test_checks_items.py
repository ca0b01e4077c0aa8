"""Faults of a data set, found by a look at two items."""

from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from exrep_hf.data import check_items
from exrep_hf.data.checks import is_map_style

GOOD = {"pixel_values": torch.zeros(3, 4, 4), "labels": 1, "sample_index": 0}


def items(count: int = 3, **changes: Any) -> list[dict[str, Any]]:
    made = [GOOD | {"sample_index": index} for index in range(count)]
    made[-1] = {key: value for key, value in (made[-1] | changes).items() if value is not ...}
    return made


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "`set` is empty; expected at least one image"),
        (items(pixel_values=...), r"Row 2 of `set` has no \['pixel_values'\], only \['labels', 'sample_index'\]"),
        (items(labels=...), r"Row 2 of `set` has no \['labels'\].*HF `Dataset`.*weights of the terms"),
        (items(sample_index=...), r"has no \['sample_index'\]"),
        ([(torch.zeros(3), 1)], "Row 0 of `set` is a tuple; expected a dict with `pixel_values`"),
        (items(labels=5), "label of row 2 of `set` is 5; expected an integer from 0 to 4: the student's classes"),
        (items(labels=-2), "label of row 2 of `set` is -2"),
        (items(labels=1.0), "label of row 2 of `set` is 1.0; expected an integer"),
        (items(labels="cat"), "label of row 2 of `set` is 'cat'; expected an integer"),
        (items(labels=torch.ones(5)), "label of row 2 of `set` is tensor.*; expected an integer"),
        (items(sample_index=3), r"`sample_index` of row 2 of `set` is 3; .* 0 to 2: positions in 3 images"),
        (items(sample_index=-1), "`sample_index` of row 2 of `set` is -1"),
    ],
)
def test_faults(dataset: list[Any], message: str) -> None:
    """Each of these fails later, on the wrong side of an hour of training, or not at all."""
    with pytest.raises(ValueError, match=message):
        check_items(dataset, ("labels", "sample_index"), num_labels=5, name="set")


def test_good_items() -> None:
    """Numbers may be of any integer kind, and `label` is as good as `labels`."""
    for label in (4, np.int64(4), torch.tensor(4), torch.tensor(4, dtype=torch.uint8)):
        check_items(items(labels=label), ("labels", "sample_index"), num_labels=5)
        check_items(items(labels=..., label=label), ("labels",), num_labels=5)
    check_items(items(labels=...), (), num_labels=5)


def test_labels_that_are_missing() -> None:
    """None and -1 are no labels, with which images are trained on and not evaluated."""
    for label in (None, -1, torch.tensor(-1)):
        check_items(items(labels=label), ("labels",), num_labels=5)
        with pytest.raises(ValueError, match=f"label of row 2 of `set` is .*{'None' if label is None else '-1'}"):
            check_items(items(labels=label), ("labels",), 5, "set", may_lack_labels=False)


def test_index_matters_only_where_it_is_needed() -> None:
    """A part of a numbered data set keeps its numbers, and most terms don't care."""
    check_items(items(sample_index=100), ("labels",), num_labels=5)
    with pytest.raises(ValueError, match="100; expected"):
        check_items(items(sample_index=100), ("sample_index",), num_labels=5)


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        raise AssertionError("a stream must not be started for a look")

    def __len__(self) -> int:
        return 3


def test_streams_are_left_alone() -> None:
    """A look at a stream would use up its first item."""
    check_items(Stream(), ("labels",), num_labels=5)
    check_items(None, ("labels",), num_labels=5)
    hf = datasets.Dataset.from_dict({"pixel_values": [[0.0]], "labels": [9]})
    assert [is_map_style(each) for each in (Stream(), None, hf, hf.to_iterable_dataset(), [1])] == [
        False,
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="label of row 0 of `train_dataset` is 9"):
        check_items(hf, (), num_labels=5)
