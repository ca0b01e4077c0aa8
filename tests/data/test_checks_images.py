import io
import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image
from PIL import Image as PILImage

from exrep_hf.data.checks import check_images, find_broken_images


def encoded(kind: str, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PILImage.fromarray(noise).save(stream, format=kind)
    return stream.getvalue()


def table(contents: list) -> Dataset:
    return Dataset.from_dict({"image": contents, "label": list(range(len(contents)))}).cast_column("image", Image())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_truncated_files_are_found(kind: str, kept: float) -> None:
    """Prevents images whose header is whole, and whose lower part is missing, from passing the check."""
    whole = encoded(kind)
    rows = table([{"bytes": content, "path": None} for content in (whole, whole[: int(kept * len(whole))], whole)])
    broken = find_broken_images(rows, "image")
    assert [row for row, _ in broken] == [1]
    assert "truncated" in broken[0][1]


def test_files_are_named_and_missing_images_found(tmp_path: Path) -> None:
    """Prevents a report without the file's name, and rows without an image from passing."""
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    (tmp_path / "bad.jpg").write_bytes(b"hello")
    files = [str(tmp_path / name) for name in ("good.png", "bad.jpg", "gone.png")]
    rows = Dataset.from_dict({"image": [*files, None]}, features=Features({"image": Image()}))
    broken = dict(find_broken_images(rows, "image"))
    assert set(broken) == {1, 2, 3}
    assert "bad.jpg" in broken[1] and "gone.png" in broken[2] and broken[3] == "there is no image"


def test_a_repaired_file_is_good_again(tmp_path: Path) -> None:
    """Prevents verdicts from a cache that does not know that the file has changed."""
    file = tmp_path / "one.png"
    file.write_bytes(b"hello")
    rows = Dataset.from_dict({"image": [str(file)]}, features=Features({"image": Image()}))
    assert len(find_broken_images(rows, "image")) == 1
    file.write_bytes(encoded("PNG"))
    assert find_broken_images(rows, "image") == []


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    """Prevents row numbers that count from the start of each process's part."""
    contents = [{"bytes": encoded("PNG"), "path": None} for _ in range(8)]
    contents[6] = {"bytes": b"x", "path": None}
    assert [row for row, _ in find_broken_images(table(contents), "image", num_proc=2)] == [6]


def test_check_raises_or_skips(caplog: pytest.LogCaptureFixture) -> None:
    """Prevents skipping without a word, and skipping good rows."""
    contents = [{"bytes": encoded("PNG", row), "path": None} for row in range(10)]
    for row in (1, 2, 3, 4, 5, 8):
        contents[row] = {"bytes": b"x", "path": None}
    rows = table(contents)
    with pytest.raises(
        ValueError, match=r"6 of 10 images cannot be decoded \(row 1: .*row 5: .*; \.\.\.\).*skip_broken"
    ):
        check_images(rows, "image")
    with caplog.at_level(logging.WARNING):
        kept, skipped = check_images(rows, "image", skip_broken=True)
    assert skipped == 6 and kept["label"][:] == [0, 6, 7, 9]
    assert "6 of 10 images cannot be decoded" in caplog.text
    assert check_images(kept, "image") == (kept, 0)


def test_nothing_left_is_an_error() -> None:
    """Prevents training on an empty set after skipping."""
    with pytest.raises(ValueError, match="no image is left"):
        check_images(table([{"bytes": b"x", "path": None}]), "image", skip_broken=True)
