"""Who sees which images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.data import load_images
from exrep_hf.data.partition import load_partition


def pixels(dataset: Dataset) -> set[bytes]:
    return {np.asarray(image).tobytes() for image in dataset["image"]}


def test_nobody_trains_on_test_images_and_students_not_on_private_ones() -> None:
    """A leak between the parts makes every number of a study too good."""
    data = load_partition(DataArguments(dataset="digits", private_fraction=0.9))
    public, judged = data.parts(seed=1)
    assert (len(data.train), len(public), len(judged), data.num_private(1)) == (1347, 134, 450, 1213)
    assert pixels(public) <= pixels(data.train)
    assert not pixels(judged) & pixels(data.train)
    other, _ = data.parts(seed=2)
    assert pixels(other) != pixels(public)
    assert sorted(set(public["label"])) == list(range(10))


def test_validation_is_part_of_the_public_images() -> None:
    """Settings chosen on test images would be tuned to them."""
    args: dict[str, Any] = {"dataset": "digits", "private_fraction": 0.9}
    whole, test = load_partition(DataArguments(**args)).parts(3)
    data = load_partition(DataArguments(**args, evaluate_on="validation"))
    rest, held_out = data.parts(3)
    assert (len(rest), len(held_out), data.num_private(3)) == (len(whole) - 41, 41, 1213)
    assert not pixels(held_out) & pixels(test)


@pytest.mark.parametrize(
    "part", [{}, {"private_fraction": 0.5}, {"num_public": 300}, {"num_public": 300, "validation_fraction": 0.6667}]
)
def test_nobody_trains_on_validation_images(part: dict[str, Any]) -> None:
    """Teacher and oracle too: one that knows them by heart is judged too well, whichever seed drew them."""
    data = load_partition(DataArguments(dataset="digits", evaluate_on="validation", **part))
    judged = [data.parts(seed)[1] for seed in range(3)]
    assert [pixels(each) for each in judged] == [pixels(judged[0])] * 3
    # Scans that are there twice are no leak of the split.
    twice = pixels(judged[0]) & pixels(data.teacher_images)
    assert len(twice) <= 1 and len(data.teacher_images) == len(data.train) - len(judged[0])
    for seed in range(3):
        public, _ = data.parts(seed)
        everything = data.training_images(seed, DataArguments(train_on="all"))
        assert len(everything) == len(public) + data.num_private(seed) == len(data.teacher_images)
        assert pixels(everything) == pixels(data.teacher_images)
    public_images = len(public) + len(judged[0])
    assert public_images == part.get("num_public", len(data.train) - data.num_private(0))
    assert len(judged[0]) == pytest.approx(part.get("validation_fraction", 0.3) * public_images, abs=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            target = tmp_path / "images" / part / name
            target.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (20, 16, 3), dtype=np.uint8)).save(target / f"{number}.png")
    return tmp_path / "images"


def test_image_folder(folder: Path) -> None:
    """Class names come from the folders, columns are named alike whatever the source."""
    data = load_partition(DataArguments(dataset=str(folder), max_train_samples=8))
    assert (len(data.train), len(data.test), data.names) == (8, 4, ["cat", "dog"])
    assert data.train.column_names == ["image", "label"]


def test_broken_images(folder: Path) -> None:
    """A truncated file stops the run before training, or is left out and counted."""
    file = folder / "train" / "cat" / "3.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="1 of 12 images cannot be decoded .*3.png"):
        load_partition(DataArguments(dataset=str(folder)))
    data = load_partition(DataArguments(dataset=str(folder), skip_broken_images=True))
    assert (data.skipped, len(data.train)) == (1, 11)


def test_limits_that_change_nothing(folder: Path) -> None:
    """A limit as large as the data set must leave its order alone: stored answers and seeds go by rows."""
    whole = load_partition(DataArguments(dataset=str(folder)))
    limited = load_partition(DataArguments(dataset=str(folder), max_train_samples=12, max_eval_samples=999))
    for part in ("train", "test"):
        rows = [getattr(each, part) for each in (whole, limited)]
        assert [image.tobytes() for image in rows[0]["image"]] == [image.tobytes() for image in rows[1]["image"]]


def test_wide_pixels_are_found_before_training(folder: Path) -> None:
    """A 16-bit image can't be used, and would stop the training in its middle."""
    wide = np.full((20, 16), 40_000, dtype=np.uint16)
    Image.fromarray(wide).save(folder / "train" / "dog" / "2.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        load_partition(DataArguments(dataset=str(folder)))
    assert load_partition(DataArguments(dataset=str(folder), skip_broken_images=True)).skipped == 1


def test_missing_splits_and_columns(folder: Path) -> None:
    """Say which splits and columns there are."""
    with pytest.raises(ValueError, match=r"`train_split` is 'training'; .* has the splits \['train', 'test'\]"):
        load_partition(DataArguments(dataset=str(folder), train_split="training"))
    with pytest.raises(ValueError, match=r"`test_split` is 'val'"):
        load_partition(DataArguments(dataset=str(folder), test_split="val"))
    flat = load_images(str(folder))
    flat.remove_columns("label").save_to_disk(folder.parent / "unlabeled")
    with pytest.raises(ValueError, match=r"no label column, only \['image'\]"):
        load_partition(DataArguments(dataset=str(folder.parent / "unlabeled")))
    with pytest.raises(ValueError, match="`label_column_name` is 'class', but the data set has the columns image"):
        load_partition(DataArguments(dataset=str(folder), label_column_name="class"))


def test_hold_out_where_there_is_no_test_split(folder: Path, tmp_path: Path) -> None:
    """Without a test split part of the training images is held out, never judged on what was trained on."""
    data = load_partition(DataArguments(dataset=str(folder / "train"), train_val_split=0.25))
    assert (len(data.train), len(data.test)) == (9, 3)
    assert not pixels(data.train) & pixels(data.test)


def test_numbers_of_public_images(folder: Path) -> None:
    """As many as asked for, the classes in proportion; an arm with `train_on: all` gets the private ones too."""
    data = load_partition(DataArguments(dataset=str(folder), num_public=4, evaluate_on="validation"))
    public, validation = data.parts(seed=0)
    assert (len(public) + len(validation), data.num_private(0)) == (4, 8)
    everything = data.training_images(0, DataArguments(train_on="all"))
    assert len(everything) == len(public) + 8
    assert not pixels(everything) & pixels(validation), "trained on what it is judged on"
    assert pixels(data.training_images(0, DataArguments())) == pixels(public)
    with pytest.raises(ValueError, match="`num_public` is 13; expected at most 12"):
        load_partition(DataArguments(dataset=str(folder), num_public=13)).parts(0)


@pytest.mark.parametrize(
    "given",
    [{"num_public": 5}, {"private_fraction": 0.999}, {"evaluate_on": "validation", "validation_fraction": 0.003}],
)
def test_parts_too_small_for_the_classes(given: dict[str, Any]) -> None:
    """Counts of what was left over, under names that no setting has, hide what is to be changed."""
    name, value = list(given.items())[-1]
    data = load_partition(DataArguments(dataset="digits", **given))
    with pytest.raises(ValueError, match=rf"^`{name}` is {value} and cannot split 1347 rows by class"):
        data.parts(0)
