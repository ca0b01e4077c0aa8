"""Several data sets as one: whose classes they have, and who is judged."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.cli import parse_settings
from exrep_hf.data.partition import load_partition

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf_cache")


def write(root: Path, first: int, *names: str) -> str:
    """Write images, numbered from the first one on by their brightness."""
    for number, name in enumerate(names, first):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(root / name / f"{number}.png")
    return str(root)


def content(rows: datasets.Dataset) -> list[tuple[int, Any]]:
    return [(int(np.asarray(row["image"])[0, 0, 0]), row["label"]) for row in rows]


@pytest.fixture
def first(tmp_path: Path) -> str:
    write(tmp_path / "first" / "test", 100, "cat", "ant", "bee")
    return write(tmp_path / "first" / "train", 0, "ant", "bee", "cat", "cat").removesuffix("/train")


def test_classes_by_name(first: str, tmp_path: Path) -> None:
    """Numbers are those of the first, by name, where a folder has some of its classes in its own order."""
    second = write(tmp_path / "second", 10, "Cat", "bee")
    third = write(tmp_path / "third", 20, "bee", "ant")
    data = load_partition(DataArguments(dataset=[first, second, third]))  # type: ignore[arg-type]
    assert (
        data.names == NAMES
        and data.in_words() == f"{first} and {second} and {third}: 8 training images, 3 test images"
    )
    expected = {(0, 0), (1, 1), (2, 2), (3, 2), (10, 2), (11, 1), (20, 1), (21, 0)}
    assert len(data.train) == 8 and set(content(data.train)) == expected
    assert sorted(content(data.test)) == [(100, 2), (101, 0), (102, 1)]


def test_images_without_labels(first: str, tmp_path: Path) -> None:
    """A flat folder adds images that the teacher alone speaks of."""
    flat = write(tmp_path / "flat", 10, "", "")
    data = load_partition(DataArguments(dataset=[first, flat]))  # type: ignore[arg-type]
    assert sorted(content(data.train), key=str) == [(0, 0), (1, 1), (10, None), (11, None), (2, 2), (3, 2)]
    assert data.train.features["label"].names == NAMES


def test_images_that_are_test_images(first: str, tmp_path: Path) -> None:
    """Of a second data set, too, nobody may train on what is judged by."""
    second = write(tmp_path / "second", 100, "cat", "bee")
    with pytest.raises(ValueError, match="training images too|are training images|test images"):
        load_partition(DataArguments(dataset=[first, second], check_images="all"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("bee", "cow"), "has 1 of 2 classes that .* does not know: 'cow'"),
        (("n1", "n2"), "has 2 of 2 classes that .* does not know"),
    ],
)
def test_other_classes(names: tuple[str, ...], message: str, first: str, tmp_path: Path) -> None:
    """A class that the first has not is no class of the student."""
    second = write(tmp_path / "second", 10, *names)
    with pytest.raises(ValueError, match=message):
        load_partition(DataArguments(dataset=[first, second]))  # type: ignore[arg-type]


def test_from_the_command_line(first: str, tmp_path: Path) -> None:
    """`--dataset a b`, and a list in a config."""
    second = write(tmp_path / "second", 10, "bee", "cat")
    config = tmp_path / "c.yaml"
    config.write_text(f"dataset: [{first}, {second}]\n")
    flags = ["--teacher", "t", "--student", "s", "--output_dir", str(tmp_path / "out"), "--use_cpu", "true"]
    for given in (["--dataset", first, second], ["--config", str(config)]):
        settings = parse_settings([*given, *flags], config)
        assert (settings.data.dataset, settings.data.other_datasets) == (first, [second])
