"""From the bytes of an image, as a data set stores them, to its pixels."""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from datasets import Image
from torch import Tensor

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:
    # torchvision is to give its decoders up; Pillow gives the same pixels.
    decode_jpeg = None


# Pillow names what it read from, which is no file here.
_BUFFER = re.compile(r" <_io\.BytesIO[^>]*>")


def decoded(stored: Any, feature: Image, as_pixels: bool) -> PIL.Image.Image | Tensor:
    """Return an image.

    Args:
        stored: `bytes` and `path`, of an image column that is not decoded.
        feature: of the column as it is decoded.
        as_pixels: whether pixels `(3, height, width)` of uint8 will do. Those of most JPEGs come at two thirds of the
            cost, the same to the bit.

    Raises:
        Exception: of many kinds, by Pillow, for what is no image.
    """
    pixels = _pixels_of_jpeg(stored) if as_pixels and feature.mode in (None, "RGB") else None
    return feature.decode_example(stored) if pixels is None else pixels


def why_not_decoded(error: Exception) -> str:
    """Return what an error of `decoded` says to a user."""
    return _BUFFER.sub("", str(error))


def _pixels_of_jpeg(stored: Any) -> Tensor | None:
    """Return the pixels of a JPEG in colours that is not to be turned; None for all that is Pillow's to judge."""
    if decode_jpeg is None or not isinstance(stored, Mapping):
        return None
    data, path = stored.get("bytes"), stored.get("path")
    try:
        if data is None:
            data = Path(path).read_bytes()  # type: ignore[arg-type]
        with PIL.Image.open(io.BytesIO(data)) as image:
            turned = image.getexif().get(PIL.Image.ExifTags.Base.Orientation)
            if image.format != "JPEG" or image.mode != "RGB" or turned is not None:
                return None
        with warnings.catch_warnings():
            # Said at each call.
            warnings.simplefilter("ignore", DeprecationWarning)
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    except Exception:
        # Whatever it is, Pillow says it better, or takes it.
        return None
