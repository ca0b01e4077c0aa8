"""Images and labels in IDX files, as MNIST and its successors have them."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage

from exrep_hf.data.classes import names_or_numbers

PREFIXES = {"train": "train", "test": "t10k"}
PARTS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


def has_idx_files(folder: Path) -> bool:
    """Return whether a folder holds a training set in IDX files, compressed or not."""
    return any(folder.glob(f"train-{PARTS['images']}*"))


def load_idx(folder: Path, class_names: list[str] | None = None) -> DatasetDict:
    """Load `train` and `test` from a folder of IDX files (`train-images-idx3-ubyte.gz` and its three siblings).

    Args:
        folder: holds the files, with or without `.gz`.
        class_names: in the order of class numbers; `None`: the numbers themselves.

    Raises:
        ValueError: if a file is missing, is no IDX file of bytes, is cut short, or images and labels differ in number.
    """
    splits = {}
    for split, prefix in PREFIXES.items():
        pixels, labels = (_read(folder, f"{prefix}-{part}") for part in PARTS.values())
        if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
            raise ValueError(
                f"The IDX files of {split!r} in {str(folder)!r} have the shapes {pixels.shape} and {labels.shape}; "
                "expected (n, height, width) and (n,)."
            )
        names = names_or_numbers(class_names, int(labels.max()) + 1)
        splits[split] = Dataset.from_dict(
            {"image": [PILImage.fromarray(image) for image in pixels], "label": labels.tolist()},
            features=Features({"image": Image(), "label": ClassLabel(names=names)}),
        )
    return DatasetDict(splits)


def _read(folder: Path, name: str) -> np.ndarray:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise ValueError(
            f"{str(folder)!r} has no {name!r} (nor {name + '.gz'!r}); expected the four files of an IDX set."
        )
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} can't be decompressed ({error}). Download the file again.") from error
    # Two zero bytes, the type (8: unsigned bytes), the number of dimensions, then each dimension as 4 bytes.
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{str(path)!r} starts with {content[:4]!r}; expected an IDX file of unsigned bytes.")
    dimensions = content[3] if len(content) > 3 else 0
    if len(content) < 4 + 4 * dimensions:
        raise ValueError(f"{str(path)!r} ends within its head. Download the file again.")
    shape = tuple(np.frombuffer(content, ">i4", count=dimensions, offset=4))
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if values.size != np.prod(shape):
        raise ValueError(f"{str(path)!r} holds {values.size} values; its head says {shape}. Download the file again.")
    return values.reshape(shape)
