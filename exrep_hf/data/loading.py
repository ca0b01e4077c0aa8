"""Image data sets by name: the Hub, local folders and files, and scikit-learn's digits."""

import glob
import logging
import os
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
    IterableDataset,
    Value,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from PIL import Image as PILImage

from exrep_hf.arguments.public import names_shards
from exrep_hf.data.folders import load_image_folder
from exrep_hf.data.idx import has_idx_files, load_idx
from exrep_hf.data.image_files import FolderContent, name_some, read_folder
from exrep_hf.data.metadata_files import metadata_files
from exrep_hf.data.pixels import STUDENT_PIXELS
from exrep_hf.data.shards import load_shards

logger = logging.getLogger(__name__)

ACCEPTED = (
    "a data set's name on the Hub, a folder of images (class folders, or train/ and test/ with class folders), "
    "Parquet or Arrow files or a folder of them, a folder of IDX files, 'fashion_mnist' (with data_dir: a folder of "
    "its IDX files), a folder written by save_to_disk, tar archives in WebDataset's format ('shards/{000..146}.tar'), "
    "or 'digits'"
)
HUB_NAMES = {"fashion_mnist": "zalando-datasets/fashion_mnist"}
"""Data sets that we call by shorter names than the Hub does."""
_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}
IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label", "cls")
NAMES = {
    "fashion_mnist": [
        "T - shirt / top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
}
"""Names of the classes, as the Hub's copies have them, of data sets whose files hold numbers alone."""


def load_images(
    name: str | os.PathLike[str],
    split: str | None = None,
    config_name: str | None = None,
    data_dir: str | None = None,
    may_be_path: bool = True,
) -> Dataset | DatasetDict:
    """Load an image data set; no code of the data set is ever run.

    Args:
        name: what to load; a local path wins over a Hub name.
        split: one split, returned as a `Dataset`; `None`: all of them, as a `DatasetDict`.
        config_name: configuration of a Hub data set that has several.
        data_dir: folder with the files of a data set that has a name only, or a folder inside a Hub data set.
        may_be_path: whether `name` may name something local; not where others wrote it.

    Raises:
        ValueError: if nothing is found under `name`, the split does not exist, or a split is empty.
    """
    name = os.fspath(name)
    loaded = _load(name, config_name, data_dir, may_be_path)
    splits = loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
    for split_name, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"The split {split_name!r} of {name!r} is empty; expected at least one image in it.")
    splits = _with_image_features(splits)
    if split is None:
        return splits
    if split not in splits:
        raise ValueError(f"{name!r} has no split {split!r}; it has {', '.join(splits)}.")
    return splits[split]


def check_split(splits: DatasetDict, name: str, setting: str, dataset: str) -> None:
    """Make sure that a data set has a split.

    Raises:
        ValueError: if it has none of this name, with those that it has.
    """
    if name not in splits:
        raise ValueError(
            f"`{setting}` is {name!r}; {dataset!r} has the splits {list(splits)}. Give one of them as `{setting}`."
        )


def load_digits() -> DatasetDict:
    """Load scikit-learn's digits: 1797 scans of 8x8 pixels (grey, 0..255) in fixed, stratified splits."""
    # scikit-learn takes most of a second to import, and hardly anybody needs it.
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

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
    path = Path(os.path.expanduser(name) if may_be_path else name)
    is_local = may_be_path and os.path.exists(path)
    if data_dir is not None and (is_local or name == "digits"):
        raise ValueError(
            f"`data_dir` is {data_dir!r} beside {name!r}, which needs none: it is for 'fashion_mnist' and data sets "
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
    if may_be_path and names_shards(name):
        return load_shards(name)
    if may_be_path and (path.is_absolute() or name.startswith((".", "~"))):
        raise ValueError(f"No data set found at {name!r}: there is no such file or folder; expected {ACCEPTED}.")
    if not may_be_path and not is_on_the_hub(HUB_NAMES.get(name, name)):
        # `load_dataset` also takes paths and names of builders, which read what lies here.
        raise ValueError(f"{name!r} names no data set on the Hub; expected user/name, 'digits' or 'fashion_mnist'.")
    if not may_be_path and Path(HUB_NAMES.get(name, name)).exists():
        raise ValueError(f"{name!r} is to be a data set on the Hub, and something local has its name: go elsewhere.")
    try:
        return load_dataset(HUB_NAMES.get(name, name), config_name, data_dir=data_dir)
    except (DatasetNotFoundError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError: the data set needs its own loading script; ValueError: an unknown configuration.
        raise ValueError(f"No data set found at {name!r} ({error}); expected {ACCEPTED}.") from error


def _load_local(path: Path) -> Dataset | DatasetDict:
    if path.is_file():
        return _load_file(path)
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return load_from_disk(str(path))
    if has_idx_files(path):
        return load_idx(path)
    content = read_folder(path)
    described = {os.path.basename(file) for file in metadata_files(content)}
    others = [file for file in content.all_others() if os.path.basename(file) not in described]
    suffixes = {os.path.splitext(file)[1].lower() for file in others}
    for suffix, builder in BUILDERS.items():
        if suffix in suffixes:
            _warn_of_images(content, suffix)
            # The path is a pattern to `datasets`.
            return load_dataset(builder, data_dir=glob.escape(os.path.abspath(path)))
    if not content.num_images:
        archived = [file for file in others if os.path.splitext(file)[1].lower() in ARCHIVES]
        held = (
            f" (it holds {name_some(archived or others, path)}{': unpack archives' * bool(archived)})"
            if others
            else ""
        )
        raise ValueError(
            f"The folder {str(path)!r} holds neither images nor Parquet or Arrow files{held}; expected {ACCEPTED}."
        )
    return load_image_folder(content)


def _load_file(path: Path) -> DatasetDict:
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        raise ValueError(f"The file {str(path)!r} is an archive. Unpack it, and pass the folder that comes out.")
    if suffix not in BUILDERS:
        raise ValueError(f"The file {str(path)!r} is not a data set; expected {ACCEPTED}.")
    return load_dataset(BUILDERS[suffix], data_files=glob.escape(os.path.abspath(path)))


def _warn_of_images(content: FolderContent, suffix: str) -> None:
    if images := content.all_images():
        logger.warning(
            "%s has %s files, which are loaded; its %d images are left out: %s.",
            content.path,
            suffix,
            len(images),
            name_some(images, content.path),
        )


def _with_image_features(splits: DatasetDict) -> DatasetDict:
    """Declare encoded images as images where a file that another library wrote does not say so."""
    for column, feature in next(iter(splits.values())).features.items():
        encoded = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
        if encoded or (column in ("image", "img") and feature == Value("binary")):
            splits = splits.cast_column(column, Image())
    return splits


def find_columns(
    dataset: Dataset | IterableDataset, image_column_name: str | None = None, label_column_name: str | None = None
) -> tuple[str, str | None]:
    """Find the image column and the label column, by name or by guess.

    Args:
        dataset: any data set with features.
        image_column_name: `None`: the column `image` or `img`, or the only one that holds images.
        label_column_name: `None`: the column `label`, `labels`, `fine_label` or `cls` (WebDataset's), or the only
            `ClassLabel` column.

    Returns:
        the two names; the second is `None` where no label column was asked for and none was found.

    Raises:
        ValueError: if a named column is missing, or the image column is not known.
    """
    features = dataset.features
    columns = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    for name, option in ((image_column_name, "image_column_name"), (label_column_name, "label_column_name")):
        if name is not None and name not in features:
            raise ValueError(f"`{option}` is {name!r}, but the data set has the columns {columns}.")
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    image = image_column_name or _only(images, IMAGE_NAMES)
    if image is None:
        raise ValueError(
            f"The image column is not known: {len(images)} columns hold images; the data set has the columns "
            f"{columns}. Name it with image_column_name."
        )
    if image not in images:
        raise ValueError(
            f"The column {image!r} does not hold images; the data set has the columns {columns}. Name an Image "
            f"column, or declare it with dataset.cast_column({image!r}, datasets.Image())."
        )
    class_labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    named = next((name for name in LABEL_NAMES if name in features), None)
    return image, label_column_name or named or _only(class_labels, LABEL_NAMES)


def holds_tensors(dataset: Dataset) -> bool:
    """Return whether a data set holds arrays as `pixel_values`, ready for a model, and not images of that name."""
    return STUDENT_PIXELS in dataset.features and not isinstance(dataset.features[STUDENT_PIXELS], Image)


def _only(candidates: list[str], preferred: tuple[str, ...]) -> str | None:
    by_name = next((name for name in preferred if name in candidates), None)
    return by_name or (candidates[0] if len(candidates) == 1 else None)


def _kind(feature: object) -> str:
    return str(feature.dtype) if isinstance(feature, Value) else type(feature).__name__


def is_on_the_hub(name: str) -> bool:
    """Return whether a name is one of the Hub, `user/name`; of what lay in a folder, results give the last part."""
    return _ON_THE_HUB.fullmatch(name) is not None
