"""Tar archives in WebDataset's format."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Image, Value
from PIL import Image as PILImage

from exrep_hf.arguments import DataArguments
from exrep_hf.arguments.public import names_shards
from exrep_hf.data import load_images
from exrep_hf.data.partition import load_partition
from exrep_hf.data.shards import shard_files, shard_splits


def picture(level: int) -> bytes:
    content = io.BytesIO()
    PILImage.fromarray(np.full((4, 4), level, np.uint8)).save(content, "PNG")
    return content.getvalue()


def write_tar(path: Path, rows: range) -> None:
    """Images whose level is their row, and the class row mod 2."""
    with tarfile.open(path, "w") as archive:
        for row in rows:
            for suffix, content in (("png", picture(row)), ("cls", str(row % 2).encode())):
                entry = tarfile.TarInfo(f"{row:04}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(3):
        write_tar(tmp_path / f"a-{number:02}.tar", range(8 * number, 8 * number + 8))
    return tmp_path


def test_patterns(shards: Path) -> None:
    """Numbers keep their width, files the order of the pattern, and one that is missing is named."""
    assert names_shards("a/{000..146}.tar") and names_shards("a/*.tar")
    assert not names_shards("a.tar") and not names_shards("a/*.png")

    def names(pattern: str) -> list[str]:
        return [Path(file).name for file in shard_files(str(shards / pattern))]

    assert names("a-{00..02}.tar") == names("a-*.tar") == ["a-00.tar", "a-01.tar", "a-02.tar"]
    assert names("a-0{2,0}.tar") == ["a-02.tar", "a-00.tar"]
    assert names("{a,a}-0{1..2}.tar") == ["a-01.tar", "a-02.tar"] * 2
    with pytest.raises(ValueError, match="names the file '.*a-03.tar', which does not exist"):
        shard_files(str(shards / "a-{00..03}.tar"))
    with pytest.raises(ValueError, match=r"has the range {2..0}; expected the lower"):
        shard_files(str(shards / "a-{2..0}.tar"))


def test_rows(shards: Path) -> None:
    """Each image is a row with its class, in the order of the archives; a study holds some of them out."""
    rows = load_images(str(shards / "a-{00..02}.tar"), "train")
    assert isinstance(rows.features["png"], Image) and rows.features["cls"] == Value("int64")
    assert [int(np.asarray(image).flat[0]) for image in rows["png"]] == list(range(24))
    assert rows["cls"][:] == [0, 1] * 12
    data = load_partition(DataArguments(dataset=str(shards / "a-*.tar"), train_val_split=0.25))
    assert (len(data.train), len(data.test), data.num_classes) == (18, 6, 2)
    assert all(np.asarray(row["image"]).flat[0] % 2 == row["label"] for row in data.test)
    assert data.in_words().endswith("18 training images, 6 test images, which were held out: there is no test split")


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train-0.tar", "train-1.tar", "val-0.tar"], {"train": [0, 1], "validation": [2]}),
        (["imagenet1k-train-00.tar", "imagenet1k-validation-00.tar"], {"train": [0], "validation": [1]}),
        (["train/0.tar", "test/0.tar"], {"train": [0], "test": [1]}),
        # One kind of archives alone, words within words, and archives that none says anything of.
        (["val-0.tar", "val-1.tar"], {"train": [0, 1]}),
        (["retrained-0.tar", "contest-0.tar"], {"train": [0, 1]}),
        (["train-0.tar", "more-0.tar"], {"train": [0, 1]}),
        (["train-test-0.tar", "val-0.tar"], {"train": [0, 1]}),
    ],
)
def test_splits_by_name(files: list[str], splits: dict[str, list[int]]) -> None:
    assert shard_splits(files) == {split: [files[place] for place in places] for split, places in splits.items()}


def test_archives_of_a_test_split_are_not_trained_on(tmp_path: Path) -> None:
    """Prevents a student that is judged on what it was trained on."""
    write_tar(tmp_path / "train-0.tar", range(8))
    write_tar(tmp_path / "val-0.tar", range(8, 12))
    data = load_partition(DataArguments(dataset=str(tmp_path / "{train,val}-0.tar")))
    levels = [[int(np.asarray(image).flat[0]) for image in part["image"]] for part in (data.train, data.test)]
    assert levels == [list(range(8)), list(range(8, 12))]


def test_other_archives(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read as tar archives in WebDataset's format .*`0.jpg` and `0.cls`"):
        load_images(str(tmp_path / "*.tar"))
