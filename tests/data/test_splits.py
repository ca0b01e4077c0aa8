from collections import Counter
from collections.abc import Callable

import pytest
from datasets import ClassLabel, Dataset, Features

from exrep_hf.data.splits import split_public_private, train_val_split


@pytest.fixture
def rows() -> Dataset:
    return Dataset.from_dict({"row": list(range(200)), "label": [0] * 100 + [1] * 60 + [2] * 40})


@pytest.mark.parametrize("split", [split_public_private, train_val_split])
def test_parts_are_disjoint_complete_and_stratified(split: Callable, rows: Dataset) -> None:
    """Prevents private images in the public part, and a class that is rarer in one part than in the other."""
    kept, held_out = split(rows, 0.9, 0, "label")
    assert sorted(kept["row"][:] + held_out["row"][:]) == list(range(200))
    assert Counter(kept["label"]) == {0: 10, 1: 6, 2: 4}
    assert Counter(held_out["label"]) == {0: 90, 1: 54, 2: 36}
    assert kept["row"][:] == sorted(kept["row"])


def test_seed_decides(rows: Dataset) -> None:
    """Prevents arms that are compared on different images, and seeds that change nothing."""
    first, again, other = (split_public_private(rows, 0.5, seed, "label")[0]["row"][:] for seed in (1, 1, 2))
    assert first == again != other


def test_without_labels(rows: Dataset) -> None:
    """Prevents a refusal of unlabelled images, which distillation alone can use."""
    kept, held_out = train_val_split(rows.remove_columns("label"), 0.25, 0, None)
    assert (len(kept), len(held_out)) == (150, 50)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fraction_outside_its_range(fraction: float, rows: Dataset) -> None:
    """Prevents an empty part."""
    with pytest.raises(ValueError, match="`private_fraction` is"):
        split_public_private(rows, fraction, 0, "label")
    with pytest.raises(ValueError, match="`validation_fraction` is"):
        train_val_split(rows, fraction, 0, "label")


def test_class_too_small_for_both_parts() -> None:
    """Prevents a part that lacks a class."""
    with pytest.raises(ValueError, match="`private_fraction` is 0.5 and cannot split 3 rows by class"):
        split_public_private(Dataset.from_dict({"label": [0, 0, 1]}), 0.5, 0, "label")


@pytest.mark.parametrize(("classes", "told"), [(3, "'c2'"), (9, "'c2', 'c3', 'c4', 'c5', 'c6' and 2 more")])
def test_a_class_of_one_image_is_named(classes: int, told: str) -> None:
    """A number in scikit-learn's words tells nobody which of a thousand folders to fill, or which setting split it."""
    features = Features({"label": ClassLabel(names=[f"c{number}" for number in range(classes)])})
    rows = Dataset.from_dict({"label": [0] * 20 + [1] * 20 + list(range(2, classes))}, features=features)
    with pytest.raises(ValueError, match=rf"^`train_val_split` is 0.5 and cannot .* there is one alone of {told}\)"):
        train_val_split(rows, 0.5, 0, "label", "`train_val_split` is 0.5")
