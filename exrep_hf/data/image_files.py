"""What a folder holds: images, other files, and folders of them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image as PILImage

NAMED_FILES = 3
"""How many files a message names."""
# Of system programs: never meant as part of a data set.
_NOT_OURS = {"thumbs.db", "desktop.ini", "__macosx"}
# Pillow knows these suffixes without reading pictures: archives of arrays, weather data and films.
_NO_PICTURES = {".h5", ".hdf", ".bufr", ".grib", ".mpg", ".mpeg"}


@dataclass
class FolderContent:
    """What a folder holds, hidden files left out.

    Attributes:
        path: the folder.
        images: names of the files that are images by their suffix, in any case.
        others: names of all other files.
        folders: the folders in it, in the order of their names.
        num_images: number of images in it and below it.
    """

    path: Path
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list["FolderContent"] = field(default_factory=list)
    num_images: int = 0

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    def walk(self) -> Iterator["FolderContent"]:
        """Yield this folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    def all_images(self) -> list[str]:
        """Return the paths of all images in it and below it."""
        return [os.path.join(folder.path, name) for folder in self.walk() for name in folder.images]

    def all_others(self) -> list[str]:
        """Return the paths of all other files in it and below it."""
        return [os.path.join(folder.path, name) for folder in self.walk() for name in folder.others]


def read_folder(path: Path, above: frozenset[str] = frozenset()) -> FolderContent:
    """List a folder and all below it; links to files and folders count as what they lead to.

    Args:
        path: the folder.
        above: real paths of the folders that it was reached through.

    Raises:
        ValueError: for a link that leads nowhere or back to a folder above it, and names that are no text.
        OSError: if a folder can't be read.
    """
    real = os.path.realpath(path)
    if real in above:
        raise ValueError(f"{str(path)!r} is a link to a folder above it, so that its images never end. Remove it.")
    content = FolderContent(path)
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or entry.name.lower() in _NOT_OURS:
            continue
        if not _is_text(entry.name):
            raise ValueError(f"The name of {entry.path!r} is not UTF-8. Rename it.")
        if entry.is_dir():
            content.folders.append(read_folder(path / entry.name, above | {real}))
        elif _is_image(entry.name):
            if not entry.is_file():
                raise ValueError(f"{entry.path!r} is no file, or a link that leads to none. Remove it.")
            content.images.append(entry.name)
        else:
            content.others.append(entry.name)
    content.num_images = len(content.images) + sum(folder.num_images for folder in content.folders)
    return content


def name_some(paths: list[str], root: Path) -> str:
    """Return the first of some paths below a folder as text, with how many more there are."""
    names = ", ".join(repr(os.path.relpath(path, root)) for path in paths[:NAMED_FILES])
    return names + (f" and {len(paths) - NAMED_FILES} more" if len(paths) > NAMED_FILES else "")


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes, in small letters, of the files that the installed Pillow can read."""
    readable = {suffix for suffix, kind in PILImage.registered_extensions().items() if kind in PILImage.OPEN}
    return frozenset(readable - _NO_PICTURES)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in image_suffixes()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
