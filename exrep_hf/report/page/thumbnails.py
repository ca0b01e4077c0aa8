"""Images within a page: small, and a part of the file."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

_SIDE = 96


@dataclass(frozen=True)
class Thumbnail:
    """An image about which teacher and student disagree.

    Attributes:
        source: the picture itself, as a `data:` address.
        label: name of its class.
        teacher: the teacher's answer.
        student: the student's.
    """

    source: str
    label: str
    teacher: str
    student: str


@dataclass(frozen=True)
class Disagreements:
    """Where teacher and student differ.

    Attributes:
        told: how often, in a sentence.
        images: some of them.
    """

    told: str
    images: tuple[Thumbnail, ...]


def thumbnail_source(image: Image.Image) -> str:
    """Return an image as a `data:` address: PNG, of at most 96 px a side; small images grow by whole pixels."""
    image = image.convert("RGB")
    times = _SIDE // max(image.size)
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((_SIDE, _SIDE))
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
