"""Stored answers of teachers that give features alone, or logits alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetForImageClassification

from exrep_hf.data import Augmentation, Preprocessing, ViewPolicy
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherSource
from exrep_hf.teacher.cache import Storage


class Rows(Dataset):
    def __init__(self) -> None:
        self.images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self.images[index], "labels": index % 3}


@pytest.fixture
def teacher(network: ResNetForImageClassification, preprocessing: Preprocessing) -> OnlineTeacher:
    return OnlineTeacher(network, preprocessing.to_image_processor())


def headless(teacher: OnlineTeacher, processor: Any) -> OnlineTeacher:
    """The network below the head."""
    below: Any = teacher.model.resnet
    return OnlineTeacher(below, processor)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_alone(teacher: OnlineTeacher, preprocessing: Preprocessing, dtype: str, tmp_path: Path) -> None:
    """Where there is nothing else, they are what is stored, and read back for the images and views of a batch."""
    source = headless(teacher, preprocessing.to_image_processor())
    images = datasets.Dataset.from_dict(
        {
            "image": [
                Image.fromarray(each) for each in np.random.default_rng(1).integers(0, 256, (5, 20, 20, 3), np.uint8)
            ]
        },
        features=datasets.Features(image=datasets.Image()),
    )
    storage = Storage(dtype, rows_per_shard=2, batch_size=2)
    views = ViewPolicy(2, augmentation=Augmentation())
    cached = CachedTeacher.write(source, images, tmp_path / "a", views, storage)
    assert (cached.num_labels, cached.id2label, cached.feature_dim) == (None, None, 6)
    assert load_file(tmp_path / "a" / "view-0000" / "shard-00000.safetensors").keys() == {"features"}
    assert cached.manifest.summary["top1"] is None
    both = CachedTeacher.write(teacher, images, tmp_path / "b", views, storage)
    batch = {"sample_index": torch.tensor([4, 0]), "view": torch.tensor([1, 0])}
    answer, whole = cached(batch), both(batch)
    assert answer.logits is None and whole.logits is not None
    tolerance = 1e-3 if dtype == "float16" else 1e-6
    torch.testing.assert_close(answer.features, whole.features, rtol=tolerance, atol=tolerance)
    # A finished folder is only checked, and found again as it is.
    assert CachedTeacher.write(source, images, tmp_path / "a", views, storage).fingerprint == cached.fingerprint
    CachedTeacher(tmp_path / "a", verify="full")


class LogitsAlone(TeacherSource):
    """A teacher that shows nothing but its answers."""

    num_labels = 3
    feature_dim = None
    preprocessing: tuple[Preprocessing | None, ...] = (None,)

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        return TeacherOutput(logits=batch["pixel_values"].mean((2, 3)))


@pytest.mark.parametrize("top_k", [None, 2])
def test_logits_alone(top_k: int | None, tmp_path: Path) -> None:
    """Of a source without features nothing is made up in their place."""
    rows = Rows()
    cached = CachedTeacher.write(LogitsAlone(), rows, tmp_path, storage=Storage("float32", top_k=top_k))
    assert (cached.num_labels, cached.feature_dim) == (3, None)
    answer: Any = cached({"sample_index": torch.tensor([3, 1])})
    expected = torch.stack([rows[3]["pixel_values"], rows[1]["pixel_values"]]).mean((2, 3))
    assert answer.features is None
    # The mass of a single other class is that class.
    torch.testing.assert_close(answer.logits.softmax(-1), expected.softmax(-1), rtol=1e-3, atol=1e-3)


def test_largest_of_no_logits(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    source = headless(teacher, preprocessing.to_image_processor())
    with pytest.raises(
        ValueError, match=r"`top_k` is 2, and the teacher, a OnlineTeacher, gives no logits.*Leave it o"
    ):
        CachedTeacher.write(source, Rows(), tmp_path, storage=Storage(top_k=2))
    mute = LogitsAlone()
    mute.num_labels = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="gives neither logits nor features; expected one of them to store"):
        CachedTeacher.write(mute, Rows(), tmp_path)


class Silent(LogitsAlone):
    feature_dim = 4  # type: ignore[assignment]


def test_an_answer_without_what_was_said(tmp_path: Path) -> None:
    """A source of the user's own that forgets one of them."""
    with pytest.raises(ValueError, match="The teacher, a Silent, answered without features; expected 4 an image, as"):
        CachedTeacher.write(Silent(), Rows(), tmp_path)


def test_a_plan_of_no_answers(tmp_path: Path) -> None:
    """What others wrote decides what is made in memory: nothing, or the largest of nothing, is none of it."""
    CachedTeacher.write(LogitsAlone(), Rows(), tmp_path)
    path = tmp_path / "manifest.json"
    written = json.loads(path.read_text())
    for teacher, storage, message in (
        ({"num_labels": None}, {}, "`teacher.num_labels` is None; expected a whole number"),
        ({"num_labels": None, "feature_dim": 3}, {"top_k": 1}, "`storage.top_k` is 1 without `teacher.num_labels`"),
        ({"feature_dim": -1}, {}, "`teacher.feature_dim` is -1; expected a whole number"),
        ({"feature_dim": 3}, {}, "has other tables than it says|is of other answers"),
    ):
        changed = written | {"teacher": written["teacher"] | teacher, "storage": written["storage"] | storage}
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            CachedTeacher(tmp_path)


def test_another_pooling_is_another_folder(network: Any, preprocessing: Preprocessing, tmp_path: Path) -> None:
    """Half a folder of one and half of the other would be the features of no network."""
    processor = preprocessing.to_image_processor()
    CachedTeacher.write(OnlineTeacher(network, processor, features="mean"), Rows(), tmp_path)
    with pytest.raises(ValueError, match=r"holds other answers than these \(teacher.pooling: 'mean' stored, None now"):
        CachedTeacher.write(OnlineTeacher(network, processor), Rows(), tmp_path)
