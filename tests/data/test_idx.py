"""IDX files, as MNIST's successors come in."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from exrep_hf.data import load_images
from exrep_hf.data.loading import NAMES


def idx(values: np.ndarray) -> bytes:
    """The format, written out."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return head + values.astype(np.uint8).tobytes()


DAMAGED = gzip.compress(bytes(range(256)) * 40)
DAMAGED = DAMAGED[:30] + b"\xff" * 20 + DAMAGED[50:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@pytest.mark.parametrize("by_name", [True, False])
def test_images_and_labels_arrive(folder: Path, by_name: bool) -> None:
    """By the data set's name with its folder, or by the folder alone; compressed or not."""
    splits = load_images("fashion_mnist", data_dir=str(folder)) if by_name else load_images(str(folder))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 20, "test": 10}
    expected = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    assert np.array_equal(np.array(splits["train"][7]["image"]), expected[7])
    assert splits["test"]["label"][:] == list(range(10))
    names = splits["train"].features["label"].names
    assert names == (NAMES["fashion_mnist"] if by_name else [str(number) for number in range(10)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", None, "has no 'train-images-idx3-ubyte'"),
        ("train-images-idx3-ubyte.gz", b"\x1f\x8bnonsense", "can't be decompressed"),
        ("train-images-idx3-ubyte.gz", DAMAGED, "can't be decompressed"),
        ("t10k-labels-idx1-ubyte", b"PK\x03\x04", "expected an IDX file of unsigned bytes"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(10))[:-3], r"holds 7 values; its head says"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(9)), r"have the shapes \(10, 28, 28\) and \(9,\)"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08\x01\0", "ends within its head"),
    ],
)
def test_damaged_files(folder: Path, name: str, content: bytes | None, message: str) -> None:
    """A download that broke off must not become a smaller data set."""
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_images("fashion_mnist", data_dir=str(folder))
