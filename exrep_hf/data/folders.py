"""Folders of images, taken literally: a folder a class, and `train`, `validation`, `test` only at the top."""

import logging
import os

from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from datasets.data_files import SPLIT_KEYWORDS

from exrep_hf.data.image_files import FolderContent, name_some
from exrep_hf.data.metadata_files import load_with_metadata, metadata_files

logger = logging.getLogger(__name__)

SPLIT_WORDS = {word: str(split) for split, words in SPLIT_KEYWORDS.items() for word in words}
"""Names of folders, in small letters, that `datasets` takes for a split, and which one."""
LAYOUTS = "class folders (`ant/0.png`), or `train/` and `test/` with the same class folders in each"


def load_image_folder(content: FolderContent) -> DatasetDict:
    """Load the images of a folder, a row for each; the name of the folder that an image lies in is its class.

    Top-level folders are splits if all that hold images have the names of splits; nothing else in names of files and
    folders has a meaning. Classes are numbered in the order of their names, all splits' together. Images that lie in
    the folder itself have no labels, nor those of a split without class folders, beside one that has them: the label
    is None. Folders with `datasets`' metadata files have the columns of those.

    Args:
        content: the folder and all below it.

    Raises:
        ValueError: if an image is not where the class folders are, a class has no images, or it is not clear what is
            a split and what a class.
    """
    described = bool(metadata_files(content))
    splits = _splits(content, described)
    if described:
        return load_with_metadata(content, splits)
    _warn_of_others(content)
    if set(splits) == {"train"} and not any(folder.num_images for folder in splits["train"].folders):
        return DatasetDict(train=_rows(splits["train"], None))
    for folder in splits.values():
        if not _is_flat(folder):
            _check_class_folders(folder, content)
    classes = _class_names(splits, content)
    return DatasetDict({split: _rows(folder, classes) for split, folder in splits.items()})


def _splits(content: FolderContent, described: bool) -> dict[str, FolderContent]:
    """Return the folder of each split: those at the top, or the whole for training."""
    holding = [folder for folder in content.folders if folder.num_images]
    if not holding or any(folder.name.lower() not in SPLIT_WORDS for folder in holding):
        return {"train": content}
    names = [folder.name for folder in holding]
    if content.images:
        images = name_some([str(content.path / name) for name in content.images], content.path)
        raise ValueError(f"{images} in {str(content.path)!r} lie beside the folders {names}. Move them into these.")
    _check_filled_splits(content, names)
    if described:
        bare = [folder.name for folder in holding if not metadata_files(folder)]
        if bare or any(name in content.others for name in map(os.path.basename, metadata_files(content))):
            raise ValueError(
                f"{str(content.path)!r} has the splits {names} and metadata files that are not in each of them, or "
                "beside them. Put one into the folder of each split."
            )
    elif all(folder.images for folder in holding) and (flat := [folder.name for folder in holding]):
        raise ValueError(
            f"{flat} in {str(content.path)!r} may be splits or classes: their names are those of splits, and images "
            "lie in them directly. If they are splits, move the images into class folders (`train/ant/0.png`); if "
            "they are classes, move the folders into one that is called `train`."
        )
    splits: dict[str, FolderContent] = {}
    for split in SPLIT_KEYWORDS:
        same = [folder for folder in holding if SPLIT_WORDS[folder.name.lower()] == str(split)]
        if len(same) > 1:
            raise ValueError(
                f"{[folder.name for folder in same]} in {str(content.path)!r} are all the split {str(split)!r}; "
                "expected one folder a split. Merge them, or move all but one elsewhere."
            )
        splits.update({str(split): folder for folder in same})
    return splits


def _check_filled_splits(content: FolderContent, names: list[str]) -> None:
    empty = [folder.name for folder in content.folders if not folder.num_images and folder.name.lower() in SPLIT_WORDS]
    if empty:
        raise ValueError(
            f"{empty} in {str(content.path)!r} hold no images, beside the splits {names}. Add images, or remove them."
        )


def _is_flat(folder: FolderContent) -> bool:
    """Return whether all images of a split lie in its folder itself."""
    return folder.num_images == len(folder.images)


def _check_class_folders(folder: FolderContent, root: FolderContent) -> None:
    """Make sure that images lie in class folders and nowhere else."""
    if folder.images:
        images = name_some([str(folder.path / name) for name in folder.images], root.path)
        raise ValueError(
            f"{len(folder.images)} images of {str(root.path)!r} lie beside the class folders and have no class: "
            f"{images}. Move them into class folders, or elsewhere."
        )
    nested = [str(below.path) for each in folder.folders for below in each.folders if below.num_images]
    if nested:
        raise ValueError(
            f"Folders within class folders of {str(root.path)!r} hold images: {name_some(nested, root.path)}; it is "
            f"not clear which folder is the class. Expected {LAYOUTS}. Move the images up, or name the folder that "
            "holds the class folders."
        )


def _class_names(splits: dict[str, FolderContent], root: FolderContent) -> list[str]:
    """Return the classes of all splits in the order of their names; each has images somewhere."""
    splits = {split: folder for split, folder in splits.items() if not _is_flat(folder)}
    filled = {split: {each.name for each in folder.folders if each.num_images} for split, folder in splits.items()}
    classes = sorted(set().union(*filled.values()))
    empty = [each for folder in splits.values() for each in folder.folders if each.name not in classes]
    if empty:
        folders = name_some([str(each.path) for each in empty], root.path)
        others = name_some([path for each in empty for path in each.all_others()], root.path)
        raise ValueError(
            f"Class folders of {str(root.path)!r} hold no images: {folders}{f' (but {others})' if others else ''}. "
            "Add images that Pillow can read, or remove the folders."
        )
    for split, names in filled.items():
        if missing := [name for name in classes if name not in names]:
            logger.warning("The split %r of %s has no images of the classes %s.", split, root.path, missing[:10])
    return classes


def _warn_of_others(content: FolderContent) -> None:
    if others := content.all_others():
        logger.warning(
            "%d files in %s are no images by their suffix, and are left out: %s.",
            len(others),
            content.path,
            name_some(others, content.path),
        )


def _rows(folder: FolderContent, classes: list[str] | None) -> Dataset:
    """Return the images of a folder in the order of their paths, numbered by the class folders that they lie in."""
    paths = sorted(os.path.abspath(path) for path in folder.all_images())
    rows = Dataset.from_dict({"image": paths}, features=Features(image=Value("string"))).cast_column("image", Image())
    if classes is None:
        return rows
    numbers = {name: number for number, name in enumerate(classes)}
    flat = _is_flat(folder)
    labels = [None if flat else numbers[os.path.basename(os.path.dirname(path))] for path in paths]
    return rows.add_column("label", labels, feature=ClassLabel(names=classes))
