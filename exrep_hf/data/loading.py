"""Image data sets by name: the Hub, local folders and files, and scikit-learn's digits."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from PIL import Image as PILImage
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split

from exrep_hf.data.idx import NAMES, has_idx_files, load_idx

ACCEPTED = (
    "a data set's name on the Hub, a folder of images (class folders, or train/ and test/ with class folders), "
    "Parquet or Arrow files or a folder of them, a folder of IDX files, 'fashion_mnist' (with data_dir: a folder of "
    "its IDX files), a folder written by save_to_disk, or 'digits'"
)
HUB_NAMES = {"fashion_mnist": "zalando-datasets/fashion_mnist"}
_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def load_images(
    name: str,
    split: str | None = None,
    config_name: str | None = None,
    data_dir: str | None = None,
    may_be_path: bool = True,
) -> Dataset | DatasetDict:
    """Loads an image data set; no code of the data set is ever run.

    Args:
        name: what to load; a local path wins over a Hub name.
        split: one split, returned as a `Dataset`; `None`: all of them, as a `DatasetDict`.
        config_name: configuration of a Hub data set that has several.
        data_dir: folder with the files of a data set that has a name only, or a folder inside a Hub data set.
        may_be_path: whether `name` may name something local; not where others wrote it.

    Raises:
        ValueError: if nothing is found under `name`, the split does not exist, or a split is empty.
    """
    loaded = _load(name, config_name, data_dir, may_be_path)
    splits = loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
    for split_name, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"the split {split_name!r} of {name!r} is empty; expected at least one image in it.")
    splits = _with_image_features(splits)
    if split is None:
        return splits
    if split not in splits:
        raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(splits)}.")
    return splits[split]


def load_digits() -> DatasetDict:
    """Loads scikit-learn's digits: 1797 scans of 8x8 pixels (grey, 0..255) in fixed, stratified splits."""
    digits = sklearn_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    features = Features({"image": Image(), "label": ClassLabel(names=[str(name) for name in digits.target_names])})
    train, test = train_test_split(np.arange(len(pixels)), test_size=0.25, random_state=0, stratify=digits.target)
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {"image": [PILImage.fromarray(pixels[row]) for row in rows], "label": digits.target[rows].tolist()},
                features=features,
            )
            for split, rows in (("train", np.sort(train)), ("test", np.sort(test)))
        }
    )


def _load(name: str, config_name: str | None, data_dir: str | None, may_be_path: bool) -> Dataset | DatasetDict:
    if name in NAMES and data_dir is not None:
        return load_idx(Path(data_dir).expanduser(), NAMES[name])
    path = Path(name)
    is_local = may_be_path and (path := path.expanduser()).exists()
    if data_dir is not None and (is_local or name == "digits"):
        raise ValueError(
            f"data_dir is {data_dir!r} beside {name!r}, which needs none: it is for 'fashion_mnist' and for data sets "
            "on the Hub. Leave it out."
        )
    if is_local:
        try:
            return _load_local(path)
        except (DatasetGenerationError, OSError, IndexError, pa.ArrowInvalid) as error:
            # IndexError: what load_from_disk raises for a split that was saved without rows.
            raise ValueError(
                f"{name!r} cannot be read as an image data set ({error}): a file is damaged, or a split is empty; "
                f"expected {ACCEPTED}."
            ) from error
    if name == "digits":
        return load_digits()
    if not may_be_path and not _ON_THE_HUB.fullmatch(HUB_NAMES.get(name, name)):
        # `load_dataset` also takes paths and names of builders, which read what lies here.
        raise ValueError(f"{name!r} names no data set on the Hub; expected user/name, 'digits' or 'fashion_mnist'.")
    if not may_be_path and Path(HUB_NAMES.get(name, name)).exists():
        raise ValueError(f"{name!r} is to be a data set on the Hub, and something local has its name: go elsewhere.")
    try:
        return load_dataset(HUB_NAMES.get(name, name), config_name, data_dir=data_dir)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, RuntimeError, ValueError) as error:
        # RuntimeError: the data set needs its own loading script; ValueError: an unknown configuration.
        raise ValueError(f"no data set found at {name!r} ({error}); expected {ACCEPTED}.") from error


def _load_local(path: Path) -> Dataset | DatasetDict:
    if path.is_file():
        if path.suffix not in BUILDERS:
            raise ValueError(f"the file {str(path)!r} is not a data set; expected {ACCEPTED}.")
        return load_dataset(BUILDERS[path.suffix], data_files=str(path))
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return load_from_disk(str(path))
    if has_idx_files(path):
        return load_idx(path)
    suffixes = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
    for suffix, builder in BUILDERS.items():
        if suffix in suffixes:
            return load_dataset(builder, data_dir=str(path))
    if not suffixes & IMAGE_SUFFIXES:
        raise ValueError(
            f"the folder {str(path)!r} holds neither images nor Parquet or Arrow files; expected {ACCEPTED}."
        )
    return load_dataset("imagefolder", data_dir=str(path))


def _with_image_features(splits: DatasetDict) -> DatasetDict:
    """Declares encoded images as images where a file that another library wrote does not say so."""
    for column, feature in next(iter(splits.values())).features.items():
        encoded = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
        if encoded or (column in ("image", "img") and feature == Value("binary")):
            splits = splits.cast_column(column, Image())
    return splits
