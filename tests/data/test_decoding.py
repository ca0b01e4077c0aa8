"""JPEGs that are decoded to tensors are those that Pillow decodes, and whatever else there is stays Pillow's."""

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from exrep_hf.data import decoding
from exrep_hf.data.decoding import decoded

IMAGE = datasets.Image()


def picture(height: int = 37, width: int = 53, seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    blocks = np.kron(random.integers(0, 256, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1)))[
        :height, :width
    ]
    return Image.fromarray((blocks + random.integers(-20, 20, blocks.shape)).clip(0, 255).astype(np.uint8))


def stored(image: Image.Image, kind: str = "jpeg", **options: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def test_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size, quality, subsampling and order of the file: stored answers are for these pixels."""
    # Pillow's encoder needs more room for small progressive images.
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**20)
    random = np.random.default_rng(1)
    for number in range(60):
        image = picture(int(random.integers(1, 90)), int(random.integers(1, 90)), number)
        options: dict[str, Any] = {
            "quality": int(random.integers(5, 100)),
            "subsampling": number % 3,
            "progressive": number % 2 == 0,
        }
        file = stored(image, **options)
        found = decoded(file, IMAGE, as_pixels=True)
        assert isinstance(found, Tensor) and found.dtype == torch.uint8
        assert torch.equal(found, pil_to_tensor(decoded(file, IMAGE, as_pixels=False)))


def test_files(tmp_path: Path) -> None:
    """Images may lie beside the table."""
    (tmp_path / "a.jpg").write_bytes(stored(picture())["bytes"])
    found = decoded({"bytes": None, "path": str(tmp_path / "a.jpg")}, IMAGE, as_pixels=True)
    assert isinstance(found, Tensor) and found.shape == (3, 37, 53)


@pytest.mark.parametrize("case", ["png", "grey", "cmyk", "turned", "other mode", "no decoder", "decoded"])
def test_what_stays_with_pillow(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, feature = picture(), IMAGE
    file: Any = stored(image, "png") if case == "png" else stored(image)
    if case in ("grey", "cmyk"):
        file = stored(image.convert("L" if case == "grey" else "CMYK"))
    if case == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        file = stored(image, exif=exif)
    if case == "other mode":
        feature = datasets.Image(mode="L")
    if case == "no decoder":
        monkeypatch.setattr(decoding, "decode_jpeg", None)
    if case == "decoded":
        file = image
    found = decoded(file, feature, as_pixels=True)
    assert isinstance(found, Image.Image)
    assert found.size == ((37, 53) if case == "turned" else (53, 37))
    assert found.mode == {"grey": "L", "cmyk": "CMYK", "other mode": "L"}.get(case, "RGB")


def test_broken_images() -> None:
    """Pillow refuses them, in its own words."""
    file = stored(picture())
    for data, message in ((file["bytes"][:-200], "truncated"), (b"\xff\xd8\xff nothing", "cannot identify")):
        for as_pixels in (True, False):
            with pytest.raises(OSError, match=message):
                decoded({"bytes": data, "path": None}, IMAGE, as_pixels)
