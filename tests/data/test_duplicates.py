"""Images that are in both parts."""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exrep_hf.arguments import DataArguments
from exrep_hf.data.partition import load_partition


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def load(folder: Path, **settings: Any) -> Any:
    return load_partition(DataArguments(dataset=str(folder), **settings))


def test_test_images_that_are_training_images(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Counted and named with both files; an error where all images are to be checked."""
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        load(folder, check_images="all", evaluate_on="validation")
    assert not caplog.text, "nothing to tell"
    for number in range(4):
        shutil.copy(folder / "train" / "ant" / f"{number}.png", folder / "test" / "bee" / f"copy{number}.png")
    pairs = [rf"'\S+/train/ant/{number}.png' = '\S+/test/bee/copy{number}.png'" for number in range(3)]
    text = rf"4 of 12 test images of '{folder}' are training images too: {'; '.join(pairs)}; \.\.\."
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        assert len(load(folder).test) == 12
    assert re.search(text + r"\. Accuracy comes out too high; `--check_images all` makes it an error", caplog.text)
    with pytest.raises(ValueError, match=text + r"\. Remove the copies, or allow them with `--check_images decode`"):
        load(folder, check_images="all")


def test_copies_are_found_past_broken_images(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Prevents rows that are named after those were counted that are left out; broken images are nobody's copies."""
    for split in ("train", "test"):
        (folder / split / "ant" / "0.png").write_bytes(b"")
    shutil.copy(folder / "train" / "bee" / "7.png", folder / "test" / "bee" / "x.png")
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        assert load(folder, skip_broken_images=True).skipped == 2
    assert re.search(r"1 of 8 test images .*: '\S+/train/bee/7.png' = '\S+/test/bee/x.png'\.", caplog.text)


def test_parts_that_are_held_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Copies within the training images may end up in training and in the held-out part."""
    shutil.copy(folder / "train" / "ant" / "0.png", folder / "train" / "ant" / "x.png")
    assert len(load(folder, check_images="all").train) == 17, "nothing is held out: no harm"
    text = r"1 of 17 training images of .* copies of others, and a part is held out .*: '\S+/0.png' = '\S+/x.png'"
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        load(folder, evaluate_on="validation")
    assert re.search(text, caplog.text)
    with pytest.raises(ValueError, match=text):
        load(folder, evaluate_on="validation", check_images="all")
    # Every image twice: a held-out half has copies in the other one.
    for file in (folder / "train").glob("*/?.png"):
        shutil.copy(file, file.with_stem("copy" + file.stem))
    with pytest.raises(ValueError, match=r"\d+ of 17 test images of .* are training images too"):
        load(folder / "train", train_val_split=0.5, check_images="all")


def test_the_setting_is_checked() -> None:
    """Prevents a misspelt value that checks nothing."""
    with pytest.raises(ValueError, match="`check_images` is 'every'; expected `no`, `sample`, `decode` or `all`"):
        DataArguments(check_images="every")  # type: ignore[arg-type]
