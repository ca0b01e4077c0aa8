"""Folders of images with metadata files."""

import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.data import load_images
from exrep_hf.data.partition import load_partition


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of four numbered images, their labels in a table; its name is a pattern."""
    for split, start in (("train", 0), ("test", 10)):
        part = tmp_path / "[v1] test" / split
        (part / "all").mkdir(parents=True)
        for number in range(start, start + 4):
            Image.fromarray(np.full((3, 2), number, np.uint8)).save(part / "all" / f"train {number}.png")
    return tmp_path / "[v1] test"


def describe(folder: Path, kind: str = "csv") -> Path:
    """Write metadata for both splits: even numbers are bees."""
    for split, start in (("train", 0), ("test", 10)):
        names = [f"all/train {number}.png" for number in range(start, start + 4)]
        table = datasets.Dataset.from_dict({"file_name": names, "label": ["bee", "ant"] * 2})
        target = str(folder / split / f"metadata.{kind}")
        {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](target)
    return folder


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_labels_come_from_metadata(kind: str, folder: Path) -> None:
    """They win over folders; splits are those of the top level."""
    data = load_partition(DataArguments(dataset=str(describe(folder, kind))))
    assert data.names == ["ant", "bee"]
    for part, start in ((data.train, 0), (data.test, 10)):
        levels = [int(np.asarray(image)[0, 0]) for image in part["image"]]
        assert sorted(levels) == list(range(start, start + 4))
        assert part["label"][:] == [1 - level % 2 for level in levels]
    alone = load_images(folder / "test", "train")
    assert len(alone) == 4 and alone.column_names == ["image", "label"]


def test_images_that_are_not_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Named by a warning; an image that is named and missing is an error."""
    describe(folder)
    (folder / "test" / "all" / "train 11.png").rename(folder / "test" / "extra.png")
    with pytest.raises(ValueError, match="name 1 images that do not exist: 'test/all/train 11.png'. Correct the col"):
        load_images(folder)
    (folder / "test" / "all" / "train 11.png").symlink_to(folder / "test" / "extra.png")
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        assert len(load_images(folder, "test")) == 4
    assert "1 images in" in caplog.text and "left out: 'test/extra.png'" in caplog.text


def test_metadata_that_does_not_fit(folder: Path) -> None:
    """A table without names of files, and one above the splits, are refused."""
    (folder / "metadata.csv").write_text("file_name,label\ntrain/all/train 0.png,bee\n")
    with pytest.raises(ValueError, match=r"has the splits \['test', 'train'\] and metadata files that are not in eac"):
        load_images(folder)
    describe(folder)
    with pytest.raises(ValueError, match="metadata files that are not in each of them, or beside them"):
        load_images(folder)
    (folder / "metadata.csv").unlink()
    for content in ("name,label\nx,y\n", "", "file_name\n../../x.png\n"):
        for split in ("train", "test"):
            (folder / split / "metadata.csv").write_text(content)
        with pytest.raises(ValueError, match=r"metadata files .* can't be read \(.*\); expected a column `file_name`"):
            load_images(folder)
