import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import PreTrainedConfig, ResNetConfig

from exrep_hf.data.checks import check_labels
from exrep_hf.data.classes import class_names, label_names


def table(labels: list) -> Dataset:
    return Dataset.from_dict({"label": labels})


def unnamed(num_labels: int) -> PreTrainedConfig:
    return ResNetConfig.from_dict({"num_labels": num_labels})


def test_good_labels_pass() -> None:
    """Prevents a refusal of the first or the last class."""
    check_labels(table([0, 2, 1]), "label", 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "row 2, column 'label', is 3; expected an integer from 0 to 2"),
        ([0, -1], "row 1, column 'label', is -1"),
        ([0, None], "row 1, column 'label', is None"),
        ([0.0, 1.0], r"row 0, column 'label', is 0\.0"),
        (["a"], "row 0, column 'label', is 'a'"),
    ],
)
def test_bad_labels_name_their_row(labels: list, message: str) -> None:
    """Prevents a device-side assertion (or silent nonsense) in cross-entropy."""
    with pytest.raises(ValueError, match=message):
        check_labels(table(labels), "label", 3)


def test_label_names_come_in_order_of_their_numbers() -> None:
    """Prevents id2label with names at the wrong numbers."""
    rows = Dataset.from_dict(
        {"a": [0], "b": [0]}, features=Features({"a": ClassLabel(names=["z", "y"]), "b": Value("int64")})
    )
    assert label_names(rows, "a") == ["z", "y"]
    assert label_names(rows, "b") is None


def test_class_names_sort_by_number_and_leave_placeholders_out() -> None:
    """Prevents '10' before '2' in id2label, and comparing LABEL_0 with real names."""
    names = [f"class {number}" for number in range(12)]
    shuffled = ResNetConfig(id2label={str(number): names[number] for number in reversed(range(12))})
    assert class_names(shuffled) == names
    assert class_names(unnamed(3)) is None
