"""Folders of images are taken literally."""

import io
import logging
import os
from collections import Counter
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, DatasetDict, load_dataset
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.data import load_images
from exrep_hf.data.partition import load_partition


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf_cache")


def picture(number: int, kind: str = "PNG") -> bytes:
    """An image whose content is its number."""
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 2, 3), (number % 256, number // 256, 0), np.uint8)).save(stream, kind)
    return stream.getvalue()


def write(root: Path, *names: str) -> Path:
    """Write an image for each name, numbered in their order."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return root


def content(path: Path) -> dict[str, dict[str, list[int]]]:
    """Numbers of the images of each split and class."""
    splits = load_images(path)
    assert isinstance(splits, DatasetDict)
    found: dict[str, dict[str, list[int]]] = {}
    for split, rows in splits.items():
        found[split] = {}
        for row in rows:
            red, green, _ = np.asarray(row["image"].convert("RGB"))[0, 0]
            name = rows.features["label"].names[row["label"]] if "label" in row else ""
            found[split].setdefault(name, []).append(int(red) + 256 * int(green))
    return found


def test_split_words_in_names_mean_nothing(tmp_path: Path) -> None:
    """Prevents test images of `bullet train` in the training set, and all images of `test tube` in the test set."""
    names = ("train", "bullet train", "test tube", "dev-kit", "validation_1")
    files = [f"{split}/{name}/{file}.png" for split in ("train", "test") for name in names for file in ("0", "test 1")]
    expected = {
        split: {name: [start + 2 * k, start + 2 * k + 1] for k, name in enumerate(names)}
        for split, start in (("train", 0), ("test", 10))
    }
    assert content(write(tmp_path / "a", *files)) == expected
    flat = content(write(tmp_path / "b", *(file.removeprefix("train/") for file in files[:10])))
    assert flat == {"train": expected["train"]}


def test_top_level_folders_are_splits_in_any_case_or_classes(tmp_path: Path) -> None:
    """`Train` and `Test` are not merged; `train` beside `bus` is a class."""
    given = write(tmp_path / "a", "Train/ant/0.png", "Train/bee/0.png", "TESTING/ant/0.png", "Valid/bee/0.png")
    assert content(given) == {
        "train": {"ant": [0], "bee": [1]},
        "validation": {"bee": [3]},
        "test": {"ant": [2]},
    }
    assert content(write(tmp_path / "b", "train/0.png", "bus/0.png", "test/0.png")) == {
        "train": {"train": [0], "bus": [1], "test": [2]}
    }


def test_classes_are_numbered_alike_in_all_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A class without test images must not shift the numbers of the others; it is named."""
    folder = write(tmp_path / "a", "train/ant/0.png", "train/bee/0.png", "train/cat/0.png", "test/cat/0.png")
    (folder / "test" / "bee").mkdir()
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        data = load_partition(DataArguments(dataset=str(folder)))
    assert data.names == ["ant", "bee", "cat"] and data.test["label"][:] == [2]
    assert "'test'" in caplog.text and "no images of the classes ['ant', 'bee']" in caplog.text
    test = load_images(str(folder), "test")
    assert test.features["label"] == ClassLabel(names=["ant", "bee", "cat"])
    (folder / "test" / "bee").rmdir()
    alone = load_images(str(folder / "test"), "train")
    assert alone.features["label"].names == ["cat"], "a class is a class, even the only one"


def test_order_of_rows_is_that_of_datasets(tmp_path: Path) -> None:
    """Stored answers and random parts go by rows: plain folders keep the order that `imagefolder` gives them."""
    names = ("a b/2", "a/10", "a/9", "B/x", "a-c/1", "é/0")
    folder = write(tmp_path / "a", *(f"{split}/{name}.png" for split in ("train", "test") for name in names))
    ours, theirs = load_images(str(folder)), load_dataset("imagefolder", data_dir=str(folder))
    assert set(ours) == set(theirs)
    for split, rows in ours.items():
        assert rows.features == theirs[split].features
        assert rows["label"][:] == theirs[split]["label"][:]
        assert [image.tobytes() for image in rows["image"]] == [image.tobytes() for image in theirs[split]["image"]]


@pytest.mark.parametrize("name", ["[v1]", "a*b?", "train", "é 漢", ".hidden"])
def test_any_name_of_the_folder_itself(name: str, tmp_path: Path) -> None:
    """Brackets and stars in a path are no patterns, and its words no splits."""
    folder = write(tmp_path / name / "test tube", "train/ant/[0].png", "train/b*/0.png", "test/ant/?.png")
    assert content(folder) == {"train": {"ant": [0], "b*": [1]}, "test": {"ant": [2]}}
    pq.write_table(pa.table({"image": [picture(7)]}), folder.parent / "[x].PARQUET")
    assert content(folder.parent / "[x].PARQUET") == {"train": {"": [7]}}
    tables = tmp_path / name / "tables"
    tables.mkdir()
    (folder.parent / "[x].PARQUET").rename(tables / "train-00000-of-00001.parquet")
    assert content(tables) == {"train": {"": [7]}}


def test_what_pillow_reads_is_an_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files with unusual suffixes are not lost; those that are no images are named, those that are hidden are not."""
    kinds = {"jfif": "JPEG", "JPG": "JPEG", "jpe": "JPEG", "webp": "WEBP", "avif": "AVIF", "jp2": "JPEG2000"}
    kinds |= {"tga": "TGA", "TIFF": "TIFF", "PnG": "PNG", "gif": "GIF", "bmp": "BMP", "ppm": "PPM"}
    folder = write(tmp_path / "a", "bee/0.png")
    (folder / "ant").mkdir()
    for suffix, kind in kinds.items():
        (folder / "ant" / f"{suffix}.{suffix}").write_bytes(picture(100, kind))
    for name in (".DS_Store", "._0.png", "Thumbs.db"):
        (folder / "ant" / name).write_bytes(b"x")
    write(folder, ".cache/0.png", "__MACOSX/ant/._0.png")
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        assert Counter({name: len(rows) for name, rows in content(folder)["train"].items()}) == {
            "ant": len(kinds),
            "bee": 1,
        }
        assert not caplog.text
        (folder / "ant" / "photo.heic").write_bytes(b"x")
        (folder / "README.md").write_bytes(b"x")
        assert len(content(folder)["train"]["ant"]) == len(kinds)
    assert "2 files in" in caplog.text and "'README.md', 'ant/photo.heic'" in caplog.text


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    """Data sets are often put together from links; one that leads nowhere is named."""
    store = write(tmp_path / "store", "x/0.png", "x/1.png", "2.png")
    folder = tmp_path / "links"
    (folder / "train" / "bee").mkdir(parents=True)
    (folder / "train" / "ant").symlink_to(store / "x")
    (folder / "train" / "bee" / "0.png").symlink_to(store / "2.png")
    (folder / "test").symlink_to(folder / "train")
    linked = {"ant": [0, 1], "bee": [2]}
    assert content(folder) == {"train": linked, "test": linked}
    (tmp_path / "again").symlink_to(folder)
    assert content(tmp_path / "again") == {"train": linked, "test": linked}
    (store / "2.png").unlink()
    with pytest.raises(ValueError, match="bee/0.png' is no file, or a link that leads to none. Remove it"):
        load_images(folder)
    (folder / "train" / "bee" / "0.png").unlink()
    (folder / "train" / "bee" / "up").symlink_to(folder)
    with pytest.raises(ValueError, match="bee/up' is a link to a folder above it"):
        load_images(folder)


REFUSED = {
    ("ant/0.png", "bee/0.png", "stray.jpg"): r"1 images .* beside the class folders .*: 'stray.jpg'. Move them",
    ("train/ant/0.png", "train/bee/0.png", "train/x.png"): r"\['train'\] .* may be splits or classes",
    (
        "train/0.png",
        "test/0.png",
    ): r"\['test', 'train'\] .* may be splits or classes: .*`train/ant/0.png`.*called `tra",
    ("train/0.png",): r"\['train'\] .* may be splits or classes",
    ("train/ant/0.png", "test/ant/0.png", "x.png"): r"'x.png' .* lie beside the folders \['test', 'train'\]. Move",
    ("ant/0.png", "ant/young/1.png", "bee/0.png"): r"Folders within class folders .*: 'ant/young'; .* Move the images",
    ("train/ant/0.png", "test/ant/0.png", "extra/0.png"): "Folders within class folders .*: 'test/ant', 'train/ant'",
    ("a/train/ant/0.png", "a/test/ant/0.png"): "'a/test', 'a/train'; .* name the folder that holds the class folders",
    ("val/ant/0.png", "valid/ant/0.png"): r"\['val', 'valid'\] .* are all the split 'validation'; .* Merge them",
    ("ant/0.png", "bee/"): "Class folders of .* hold no images: 'bee'. Add images",
    ("ant/0.png", "bee/0.heic"): r"Class folders of .* hold no images: 'bee' \(but 'bee/0.heic'\). Add images that P",
    ("train/ant/0.png", "train/bee/", "test/ant/0.png"): "Class folders of .* hold no images: 'train/bee'.",
    ("train/ant/0.png", "test/ant/"): r"\['test'\] .* hold no images, beside the splits \['train'\]",
    ("images.zip",): r"neither images nor Parquet or Arrow files \(it holds 'images.zip': unpack archives\)",
    ("ant/0.heic",): r"neither images nor Parquet or Arrow files \(it holds 'ant/0.heic'\)",
}


@pytest.mark.parametrize(("files", "message"), REFUSED.items(), ids=[" ".join(files) for files in REFUSED])
def test_folders_that_are_not_clear_are_refused(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Prevents images that vanish or end up in another class or split."""
    for file in files:
        if file.endswith("/"):
            (tmp_path / "a" / file).mkdir(parents=True)
        else:
            write(tmp_path / "a", file)
    with pytest.raises(ValueError, match=message):
        load_images(tmp_path / "a")


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    """They may be passed on, and can't be evaluated on."""
    folder = write(tmp_path / "a", "1.png", "0.png")
    assert content(folder) == {"train": {"": [1, 0]}}
    with pytest.raises(ValueError, match=r"no label column, only \['image'\]; .*Put labelled images beside those"):
        load_partition(DataArguments(dataset=str(folder)))
    data = load_partition(DataArguments(dataset=str(folder)), is_evaluated=False)
    assert (data.train["label"][:], len(data.test), data.names, data.num_classes) == ([None, None], 0, None, 0)
    with pytest.raises(ValueError, match="has one class only, 'ant'; expected two or more"):
        load_partition(DataArguments(dataset=str(write(tmp_path / "b", "ant/0.png", "ant/1.png"))))


def test_a_split_without_class_folders_beside_one_that_has_them(tmp_path: Path) -> None:
    """Unlabelled images to train on, and labelled ones to judge by: their classes are those of the latter."""
    folder = write(tmp_path / "a", "train/1.png", "train/0.png", "test/bee/2.png", "test/ant/3.png")
    data = load_partition(DataArguments(dataset=str(folder)))
    assert data.train["label"][:] == [None, None] and data.names == ["ant", "bee"] and data.test["label"][:] == [0, 1]
    assert data.in_words().endswith("2 training images (2 without a label), 2 test images")
    assert len(data.parts(0)[0]) == 2
    folder = write(tmp_path / "b", "train/ant/0.png", "train/bee/1.png", "test/0.png")
    with pytest.raises(ValueError, match="1 of 1 labels .* of the split 'test' of .* missing .*`test_split`"):
        load_partition(DataArguments(dataset=str(folder)))
    assert len(load_partition(DataArguments(dataset=str(folder)), is_evaluated=False).test) == 0


def test_paths_that_are_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence for an archive and for a path that does not exist, however it is passed."""
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="images.zip' is an archive. Unpack it, and pass the folder"):
        load_images(tmp_path / "images.zip")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="No data set found at 'xxx"):
        load_images("x" * 300)
    for missing in (tmp_path / "no*", "./nowhere", "~/nowhere/[x]", "~nobody_of_this_name/images", "/" + "x" * 300):
        with pytest.raises(ValueError, match="No data set found at .*there is no such file or folder"):
            load_images(missing)
    folder = write(tmp_path / "a", "train/ant/0.png", "train/bee/0.png", "test/ant/0.png")
    args = DataArguments(dataset=folder)  # type: ignore[arg-type]
    assert args.dataset == str(folder) and len(load_partition(args).train) == 2


def test_empty_and_other_files_by_name(tmp_path: Path) -> None:
    """A file without content is a broken image that is named; so is one that is a text."""
    folder = write(tmp_path / "a", *(f"{split}/{name}/0.png" for split in ("train", "test") for name in ("a", "b")))
    (folder / "train" / "a" / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 3 images cannot be decoded .*train/a/1.jpg"):
        load_partition(DataArguments(dataset=str(folder)))
    os.mkfifo(folder / "train" / "a" / "2.jpg")
    with pytest.raises(ValueError, match="2.jpg' is no file"):
        load_partition(DataArguments(dataset=str(folder)))


def test_images_beside_tables_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Tables are the data set; prevents images that are left out without a word."""
    folder = write(tmp_path / "a", "ant/0.png")
    pq.write_table(pa.table({"image": [picture(7)]}), folder / "train.parquet")
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        assert content(folder) == {"train": {"": [7]}}
    assert "its 1 images are left out: 'ant/0.png'" in caplog.text
