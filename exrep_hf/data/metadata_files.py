"""Folders of images that `metadata.csv`, `.jsonl` or `.parquet` describes, read by `datasets`."""

import glob
import logging
import os

import pyarrow as pa
from datasets import DatasetDict, Image, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from exrep_hf.data.image_files import FolderContent, name_some

logger = logging.getLogger(__name__)


def metadata_files(content: FolderContent) -> list[str]:
    """Return the paths of all metadata files in a folder and below it."""
    return [path for path in content.all_others() if os.path.basename(path) in ImageFolder.METADATA_FILENAMES]


def load_with_metadata(root: FolderContent, splits: dict[str, FolderContent]) -> DatasetDict:
    """Load the images that metadata files name by `file_name`, with all their columns.

    Args:
        root: the whole folder.
        splits: the folder of each split, with its metadata files.

    Raises:
        ValueError: if metadata files can't be read, or name images that are not there.
    """
    # The paths are patterns to `datasets`.
    files = {
        split: [glob.escape(os.path.abspath(path)) for path in sorted(metadata_files(folder))]
        for split, folder in splits.items()
    }
    try:
        loaded = load_dataset("imagefolder", data_files=files)
    except (DatasetGenerationError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        reason = error.__cause__ or error
        raise ValueError(
            f"The metadata files {name_some(metadata_files(root), root.path)} of {str(root.path)!r} can't be read "
            f"({reason}); expected a column `file_name` with paths of images, and the same columns in each. Correct "
            "them, or move them elsewhere if they are for something else."
        ) from error
    _check_named_images(loaded, root)
    return loaded


def _check_named_images(loaded: DatasetDict, root: FolderContent) -> None:
    """Make sure that all images that are named exist, and say which are there without being named."""
    named: set[str] = set()
    for rows in loaded.values():
        for column in [name for name, feature in rows.features.items() if isinstance(feature, Image)]:
            stored = rows.cast_column(column, Image(decode=False))[column]
            named.update(os.path.normpath(each["path"]) for each in stored if each and each["path"])
    there = {os.path.abspath(path) for path in root.all_images()}
    if missing := sorted(path for path in named - there if not os.path.isfile(path)):
        raise ValueError(
            f"The metadata files of {str(root.path)!r} name {len(missing)} images that do not exist: "
            f"{name_some(missing, root.path)}. Correct the column `file_name`, which is relative to its file's folder."
        )
    if left_out := sorted(there - named):
        logger.warning(
            "%d images in %s are not named by its metadata files, and are left out: %s.",
            len(left_out),
            root.path,
            name_some(left_out, root.path),
        )
