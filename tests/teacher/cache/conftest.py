"""A small folder of stored answers, made by a teacher that needs no network."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from exrep_hf.data import Mixing, Preprocessing, ViewPolicy
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher, TeacherSource
from exrep_hf.teacher.cache import Provenance, Storage

ROWS = 20


class Images(Dataset):
    """Noise around a number."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.full((3, 4, 4), index / ROWS) + 0.1 * torch.randn(3, 4, 4)
        return {"pixel_values": image, "labels": index % 5, "sample_index": index}


class Arithmetic(TeacherSource):
    """Answers that follow from the pixels; counts the images it is asked about."""

    num_labels, feature_dim = 5, 3
    preprocessing: tuple[Preprocessing | None, ...] = (None,)
    fingerprint: str | None = None

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.asked = 0

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        images = batch["pixel_values"]
        self.asked += len(images)
        mean = self.factor * images.mean((1, 2, 3))[:, None]
        return TeacherOutput(logits=mean * torch.arange(5), features=images.mean((2, 3)))


def store(folder: Path, teacher: Arithmetic | None = None, **changes: Any) -> CachedTeacher:
    """Two views of 20 images, in files of 6: eight files."""
    given: dict[str, Any] = {
        "views": ViewPolicy(2, 1, None, Mixing(mixup=1.0)),
        "storage": Storage(rows_per_shard=6, batch_size=4),
        "provenance": Provenance("me/teacher", "v1"),
    }
    return CachedTeacher.write(teacher or Arithmetic(), Images(), folder, **given | changes)


@pytest.fixture
def write() -> Callable[..., CachedTeacher]:
    return store


@pytest.fixture
def make_teacher() -> Callable[..., Arithmetic]:
    return Arithmetic


def content(folder: Path) -> dict[str, bytes]:
    """All files, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def content_of() -> Callable[[Path], dict[str, bytes]]:
    return content
