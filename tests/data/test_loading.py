from collections import Counter
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage
from sklearn.datasets import load_digits as sklearn_digits

from exrep_hf.data.loading import load_digits, load_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf_cache")


def write_image(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(np.full((6, 5, 3), level, dtype=np.uint8)).save(path)


def small() -> Dataset:
    images = [PILImage.fromarray(np.full((6, 5), level, dtype=np.uint8)) for level in (0, 100, 200)]
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    return Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features)


def test_digits_are_the_scans_of_scikit_learn() -> None:
    """Prevents images that do not belong to their labels, or of another brightness: 16 becomes 255."""
    digits, original = load_digits(), sklearn_digits()
    assert digits["train"].features["label"].names == [str(digit) for digit in range(10)]
    assert {name: len(rows) for name, rows in digits.items()} == {"train": 1347, "test": 450}
    expected = Counter(
        (tuple(np.rint(image * 255 / 16).astype(int).ravel()), int(label))
        for image, label in zip(original.images, original.target, strict=True)
    )
    received = Counter(
        (tuple(np.asarray(row["image"]).astype(int).ravel()), row["label"]) for rows in digits.values() for row in rows
    )
    assert received == expected
    assert digits["test"][0]["image"].mode == "L" and digits["test"][0]["image"].size == (8, 8)


def test_digits_splits_are_fixed_and_stratified() -> None:
    """Prevents a test split that changes from run to run, or lacks a class."""
    first, second = load_images("digits", split="test"), load_images("digits", split="test")
    assert isinstance(first, Dataset) and isinstance(second, Dataset)
    assert [np.asarray(row["image"]).tobytes() for row in first] == [
        np.asarray(row["image"]).tobytes() for row in second
    ]
    counts = Counter(first["label"])
    assert set(counts) == set(range(10)) and min(counts.values()) >= 43 and max(counts.values()) <= 46


def test_folder_with_train_and_test(tmp_path: Path) -> None:
    """Prevents test images that end up in the training split, or labels by file order."""
    for split, count in (("train", 3), ("test", 1)):
        for number, name in enumerate(("ant", "bee")):
            for copy in range(count):
                write_image(tmp_path / "data" / split / name / f"{copy}.png", 100 * number + copy)
    loaded = load_images(str(tmp_path / "data"))
    assert isinstance(loaded, DatasetDict)
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 6, "test": 2}
    assert loaded["train"].features["label"].names == ["ant", "bee"]
    for row in loaded["train"]:
        assert np.asarray(row["image"])[0, 0, 0] // 100 == row["label"]


def test_flat_class_folders(tmp_path: Path) -> None:
    """Prevents a refusal of the simplest layout there is."""
    for name in ("ant", "bee"):
        write_image(tmp_path / "data" / name / "0.jpg", 50)
        write_image(tmp_path / "data" / name / "1.jpg", 50)
    rows = load_images(str(tmp_path / "data"), split="train")
    assert isinstance(rows, Dataset)
    assert len(rows) == 4 and rows.features["label"].names == ["ant", "bee"]


@pytest.mark.parametrize("layout", ["parquet file", "parquet folder", "arrow file", "arrow folder", "dict", "single"])
def test_saved_data_sets_come_back(layout: str, tmp_path: Path) -> None:
    """Prevents images or class names that are lost on the way through a file."""
    where = tmp_path / "saved"
    where.mkdir()
    kind, form = layout.split() if " " in layout else ("", layout)
    if form == "dict":
        DatasetDict(train=small(), test=small()).save_to_disk(where)
    elif form == "single":
        small().save_to_disk(where)
    else:
        for split in ("train", "test"):
            file = where / f"{split}-00000-of-00001.{kind}"
            if kind == "parquet":
                small().to_parquet(file)
            else:
                with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, small().data.table.schema) as writer:
                    writer.write_table(small().data.table)
    if form == "file":
        where = where / f"train-00000-of-00001.{kind}"
    loaded = load_images(str(where))
    assert isinstance(loaded, DatasetDict)
    assert set(loaded) == ({"train"} if form in ("single", "file") else {"train", "test"})
    assert loaded["train"].features["label"].names == ["cat", "dog"]
    assert [np.asarray(row["image"])[0, 0] for row in loaded["train"]] == [0, 100, 200]


def test_parquet_of_other_libraries_has_its_images_declared(tmp_path: Path) -> None:
    """Prevents raw bytes where an image is expected, as in files written by pandas."""
    write_image(tmp_path / "one.png", 77)
    content = (tmp_path / "one.png").read_bytes()
    pq.write_table(pa.table({"img": [content], "label": ["ant"]}), tmp_path / "data.parquet")
    rows = load_images(str(tmp_path / "data.parquet"), split="train")
    assert isinstance(rows, Dataset)
    assert isinstance(rows.features["img"], Image) and rows.features["label"] == Value("string")
    assert np.asarray(rows[0]["img"])[0, 0, 0] == 77


def test_nothing_found_says_what_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a long trace of a network library for a mistyped folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="No data set found at 'nobody/no_such_images'.*save_to_disk, .*or 'digits'"):
        load_images("nobody/no_such_images")
    with pytest.raises(ValueError, match="No data set found at"):
        load_images(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds neither images nor"):
        load_images(str(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="notes.txt' is not a data set; expected"):
        load_images(str(tmp_path / "notes.txt"))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Prevents an error that names only the reader's internals."""
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="half.parquet' cannot be read as an image data set"):
        load_images(str(tmp_path / "half.parquet"))


def test_empty_and_unknown_splits_are_refused(tmp_path: Path) -> None:
    """Prevents training on nothing, and a mean over zero test images."""
    DatasetDict(train=small(), test=small().select([])).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="saved' cannot be read .*a split is empty"):
        load_images(str(tmp_path / "saved"))
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="none.parquet' cannot be read .*a split is empty"):
        load_images(str(tmp_path / "none.parquet"))
    with pytest.raises(ValueError, match="no split 'validation'; it has train, test"):
        load_images("digits", split="validation")


def test_names_that_others_wrote_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has the name of a data set, or any file here by a builder's name, must not be taken for it."""
    digits = load_images("digits", split="test")
    for folder in (tmp_path / "digits" / "train" / "a", tmp_path / "test" / "a", tmp_path / "me" / "images"):
        folder.mkdir(parents=True)
        digits[0]["image"].save(folder / "0.png")
    monkeypatch.chdir(tmp_path)
    assert len(load_images("digits", split="train")) == 1
    assert len(load_images("digits", split="train", may_be_path=False)) == 1347
    for name in ("imagefolder", "pandas", "digits/train/a", "~nobody/x", "../me", "/tmp", "x" * 300):
        with pytest.raises(ValueError, match="names no data set on the Hub"):
            load_images(name, may_be_path=False)
    with pytest.raises(ValueError, match="'me/images' is to be a data set on the Hub, and something local has its na"):
        load_images("me/images", may_be_path=False)
