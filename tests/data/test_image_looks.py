"""Images are decoded once, by all processes, and again when a file has changed."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from exrep_hf.arguments import DataArguments
from exrep_hf.data import image_looks
from exrep_hf.data.checks import ImageReport, inspect_images
from exrep_hf.data.image_looks import SAMPLE, look_at_images
from exrep_hf.data.partition import load_partition
from tests.processes import Processes, finish

COUNT = 12


def encoded(seed: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    PILImage.fromarray(noise).save(stream, format="PNG")
    return stream.getvalue()


def in_files(folder: Path) -> Dataset:
    paths = []
    for number in range(COUNT):
        paths.append(folder / f"{number:02d}.png")
        if not paths[-1].exists():
            paths[-1].write_bytes(encoded(number))
    return Dataset.from_dict({"image": [*map(str, paths)]}, features=Features({"image": Image()}))


def within(_: Path) -> Dataset:
    rows = [{"bytes": encoded(number), "path": None} for number in range(COUNT)]
    return Dataset.from_dict({"image": rows}, features=Features({"image": Image()}))


def in_parquet(folder: Path) -> Dataset:
    if not (folder / "data").exists():
        (folder / "data").mkdir()
        within(folder).to_parquet(folder / "data" / "rows.parquet")
    return datasets.load_dataset(
        "parquet", data_dir=str(folder / "data"), split="train", cache_dir=str(folder / "made")
    )


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many images each look was at; in a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "kept")
    counts: list[int] = []

    def counted(dataset: Dataset, *rest: Any) -> ImageReport:
        counts.append(len(dataset))
        return inspect_images(dataset, *rest)

    monkeypatch.setattr(image_looks, "inspect_images", counted)
    return counts


@pytest.mark.parametrize("make", [in_files, within, in_parquet])
def test_a_second_start_decodes_nothing(make: Callable[[Path], Dataset], looked: list[int], tmp_path: Path) -> None:
    """What is recalled is what was found, of data sets that are loaded anew."""
    first = look_at_images(make(tmp_path), "image", "all")
    again = look_at_images(make(tmp_path), "image", "all")
    assert looked == [COUNT]
    assert again == first == inspect_images(make(tmp_path), "image")
    assert len(set(first.digests)) == first.count == COUNT and not first.broken
    # Other rows of the same files are other images.
    part = look_at_images(make(tmp_path).select([3, 1]), "image", "all")
    assert looked == [COUNT, 2] and part.digests == [first.digests[3], first.digests[1]]


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_changed_file_is_looked_at(change: str, looked: list[int], tmp_path: Path) -> None:
    """A broken file in the place of a good one is found, whatever was kept."""
    first = look_at_images(in_files(tmp_path), "image", "all")
    rows, file = in_files(tmp_path), tmp_path / "03.png"
    if change == "content":
        file.write_bytes(b"hello")
    elif change == "time":
        file.write_bytes(encoded(99)[: len(file.read_bytes())].ljust(len(file.read_bytes()), b"\0"))
        os.utime(file, (1, 1))
    else:
        file.unlink()
    found = look_at_images(rows, "image", "all")
    assert looked == [COUNT, COUNT] and found.digests[3] != first.digests[3]
    assert [row for row, _ in found.broken] == ([] if change == "time" else [3])


def test_broken_images_are_tried_again(looked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was away for a moment must not leave images out of all later runs."""
    rows = in_files(tmp_path)
    (tmp_path / "05.png").write_bytes(b"hello")
    first = look_at_images(rows, "image", "all")
    assert [row for row, _ in first.broken] == [5] and "05.png" in first.broken[0][1]
    again = look_at_images(rows, "image", "all")
    # Pillow's reasons hold addresses.
    assert [row for row, _ in again.broken] == [5] and again.digests == first.digests and looked == [COUNT, 1]
    monkeypatch.setattr("exrep_hf.data.checks._reason", lambda content: "")
    mended = look_at_images(rows, "image", "all")
    assert not mended.broken and mended.digests == first.digests and looked == [COUNT, 1, 1]


def test_what_is_kept_is_not_trusted(looked: list[int], tmp_path: Path) -> None:
    """Half a file, or that of a data set of another length, is as good as none."""
    first = look_at_images(in_files(tmp_path), "image", "all")
    (kept,) = (tmp_path / "kept").rglob("*.safetensors")
    whole = kept.read_bytes()
    for content in (whole[:-5], b"", b"\0" * 40):
        kept.write_bytes(content)
        assert look_at_images(in_files(tmp_path), "image", "all") == first
        assert kept.read_bytes() == whole
    assert looked == [COUNT] * 4


def test_a_cache_that_cant_be_written(
    looked: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    assert look_at_images(in_files(tmp_path), "image", "all").count == COUNT
    assert "can't be kept for the next start" in caplog.text


def test_fewer_looks(looked: list[int], tmp_path: Path) -> None:
    """A sample has both ends, and its rows are those of the data set."""
    rows = [{"bytes": encoded(0), "path": None}] * 1000
    rows[0] = rows[999] = {"bytes": b"x", "path": None}
    many = Dataset.from_dict({"image": rows}, features=Features({"image": Image()}))
    sample = look_at_images(many, "image", "sample")
    assert looked == [SAMPLE] and [row for row, _ in sample.broken] == [0, 999]
    assert sample.digests == [] and sample.count == 1000
    assert look_at_images(many, "image", "no") == ImageReport([], [], 1000) and looked == [SAMPLE]
    assert look_at_images(many.select([]), "image", "all") == ImageReport([], [], 0)


def test_images_partly_in_files(looked: list[int], tmp_path: Path) -> None:
    """No name is made up for them: they are looked at each time."""
    (tmp_path / "a.png").write_bytes(encoded(1))
    rows = [{"bytes": encoded(0), "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}]
    kind = {"bytes": Value("binary"), "path": Value("string")}
    mixed = Dataset.from_dict({"image": rows}, features=Features({"image": kind})).cast_column("image", Image())
    assert look_at_images(mixed, "image", "all") == look_at_images(mixed, "image", "all") and looked == [2, 2]


def test_the_setting_reaches_the_images(looked: list[int], tmp_path: Path) -> None:
    """From `--check_images` to what is decoded; a broken image that nobody looks at is met in training."""
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(3):
                content = encoded(10 * len(split) + number + 100 * (name == "ant"))
                (tmp_path / "images" / split / name / f"{number}.png").write_bytes(content)
    (tmp_path / "images" / "train" / "ant" / "1.png").write_bytes(b"hello")

    def load(check: Any) -> Any:
        looked.clear()
        return load_partition(DataArguments(dataset=str(tmp_path / "images"), check_images=check))

    assert len(load("no").train) == 6 and looked == []
    for check in ("sample", "decode", "all"):
        with pytest.raises(ValueError, match="1 of 6 images cannot be decoded .*1.png"):
            load(check)
    (tmp_path / "images" / "train" / "ant" / "1.png").write_bytes(encoded(500))
    load("decode")
    assert looked == [6, 6]
    load("all")
    assert looked == []


def test_two_processes_share_the_work(processes: Processes, tmp_path: Path) -> None:
    """Each decodes a half; both know all, in the order of the rows; the second time nobody decodes."""
    in_files(tmp_path)
    (tmp_path / "08.png").write_bytes(b"hello")
    finish(processes.start("tests.data.looking_run", 2, str(tmp_path)))
    expected = inspect_images(in_files(tmp_path), "image")
    for rank in range(2):
        held = np.load(tmp_path / f"found-{rank}.npz")
        assert held["looked"].tolist() == [COUNT // 2] + [1] * (rank == 0)
        assert held["broken"].tolist() == [8] and [row for row, _ in expected.broken] == [8]
        assert held["digests"].tolist() == [digest.hex() for digest in expected.digests]
