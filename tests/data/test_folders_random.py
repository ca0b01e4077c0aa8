"""Random trees of files: each image where its folder says, or a refusal of ours."""

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import exrep_hf
from exrep_hf.arguments import DataArguments
from exrep_hf.data import load_images
from exrep_hf.data.partition import load_partition

Tree = dict[tuple[str, ...], bytes]
Found = dict[str, dict[str, list[bytes]]]

SPLITS = {"train": {"train", "training"}, "validation": {"validation", "valid", "dev", "val"}}
SPLITS |= {"test": {"test", "testing", "eval", "evaluation"}}
LETTERS = st.text("ab[]*?{}!._- é漢'\"%", min_size=1, max_size=5).filter(lambda name: not name.startswith("."))
WORDS = [
    "train",
    "Test",
    "val",
    "bullet train",
    "test tube",
    "train-1",
    "dev_kit",
    "ant",
    "[v1]",
    "a*",
    ".cache",
    "x.png",
]
CLASSES = st.sampled_from(WORDS) | LETTERS
SPLIT_FOLDERS = st.sampled_from(["train", "TRAIN", "Training", "test", "eval", "val", "dev"])
FILES = st.builds(
    "{}{}".format,
    st.sampled_from(["0", "train_0", "photo test 3", "[0]", "b*", "é", ".hidden"]) | LETTERS,
    st.sampled_from([".png"] * 4 + [".PNG", ".jpg", ".tga", ".txt", "", ".heic"]),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Files of class folders, half of the time in split folders, sometimes with files and folders out of place."""
    classes = draw(st.lists(CLASSES, min_size=1, max_size=3, unique=True))
    tops = draw(st.just([()]) | st.lists(st.tuples(SPLIT_FOLDERS), min_size=1, max_size=3, unique=True))
    places = [(*top, name) for top in tops for name in classes]
    places += draw(
        st.just([]) | st.lists(st.sampled_from([(), *tops, *((*place, "deep") for place in places)]), max_size=1)
    )
    files = [(*place, name) for place in places for name in draw(st.lists(FILES, min_size=1, max_size=2, unique=True))]
    tree: Tree = {}
    for number, file in enumerate(files):
        # A name is a file or a folder.
        if not any(file[: len(other)] == other or other[: len(file)] == file for other in tree):
            tree[file] = picture(number)
    return tree


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 2), number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def expected(tree: Tree) -> Found | None:
    """What a folder holds, as its rules say; None where it is to be refused."""
    # Folders, with the folders above them.
    seen = {path[: depth + 1] for path in tree for depth in range(len(path) - 1)}
    seen = {path for path in seen if not any(part.startswith(".") for part in path)}
    shown = {path: image for path, image in tree.items() if not any(part.startswith(".") for part in path)}
    images = {
        path: image for path, image in shown.items() if Path(path[-1].lower()).suffix in (".png", ".jpg", ".tga")
    }
    word_of = {word: split for split, words in SPLITS.items() for word in words}
    tops = {path[0] for path in images if len(path) > 1}
    if tops and all(top.lower() in word_of for top in tops):
        names = [word_of[top.lower()] for top in tops]
        folders = {path[0] for path in seen if path[0].lower() in word_of}
        if any(len(path) != 3 for path in images) or len(set(names)) < len(names) or folders != tops:
            return None
        placed = [(word_of[path[0].lower()], path[1:], image) for path, image in sorted(images.items())]
        class_folders = {path[1] for path in seen if len(path) > 1 and path[0] in tops}
    elif tops:
        if any(len(path) != 2 for path in images):
            return None
        placed = [("train", path, image) for path, image in sorted(images.items())]
        class_folders = {path[0] for path in seen}
    else:
        return {"train": {"": [image for _, image in sorted(images.items())]}} if images else None
    if class_folders != {path[0] for _, path, _ in placed}:
        return None
    found: Found = {}
    for split, path, image in placed:
        found.setdefault(split, {}).setdefault(path[0], []).append(image)
    return found


def write(tree: Tree, root: Path) -> Path:
    for path, image in tree.items():
        file = root.joinpath(*path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    return root


def content(splits: Any, image: str = "image", label: str = "label") -> Found:
    found: Found = {}
    for split, rows in splits.items():
        found[split] = {}
        for row in rows:
            name = rows.features[label].names[row[label]] if label in row else ""
            found[split].setdefault(name, []).append(picture(np.asarray(row[image])[0, 0]))
    return found


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by our code, and not by somebody below it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    return Path(trace.tb_frame.f_code.co_filename).is_relative_to(Path(exrep_hf.__file__).parent)


def ordered(found: Found) -> Found:
    return {split: {name: sorted(images) for name, images in classes.items()} for split, classes in found.items()}


@settings(derandomize=True, deadline=None, max_examples=70)
@given(trees())
def test_images_of_random_folders(tree: Tree) -> None:
    """Split, class and content of every image are those of its path; else nothing is loaded."""
    root = Path(tempfile.mkdtemp(prefix="[train] *"))
    try:
        wanted = expected(tree)
        if wanted is None:
            with pytest.raises(ValueError, match=r".{40}") as refusal:
                load_images(write(tree, root))
            assert is_ours(refusal.value), refusal.value
            return
        splits = load_images(write(tree, root))
        assert isinstance(splits, DatasetDict)
        assert ordered(content(splits)) == ordered(wanted)
        classes = sorted({name for each in wanted.values() for name in each} - {""})
        assert all(not classes or rows.features["label"].names == classes for rows in splits.values())
    finally:
        shutil.rmtree(root)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(trees())
def test_parts_of_random_folders(tree: Tree) -> None:
    """A study's two parts are the splits, or both parts of the training images together, no image in both."""
    root = Path(tempfile.mkdtemp())
    try:
        wanted = expected(tree)
        try:
            data = load_partition(DataArguments(dataset=str(write(tree, root)), train_val_split=0.5))
        except ValueError as error:
            assert is_ours(error), error
            complete = wanted is not None and {"train", "test"} <= wanted.keys()
            classes = {name for split in wanted or {} for name in (wanted or {})[split]}
            assert not complete or len(classes) < 2
            return
        assert wanted is not None
        found = content({"train": data.train, "test": data.test})
        if data.test_split is None:
            together = {name: found["train"].get(name, []) + found["test"].get(name, []) for name in wanted["train"]}
            assert ordered({"train": together}) == ordered({"train": wanted["train"]})
        else:
            assert ordered(found) == ordered({"train": wanted["train"], "test": wanted[data.test_split]})
    finally:
        shutil.rmtree(root)
