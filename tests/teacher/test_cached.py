"""Stored answers: written once, found by row."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetForImageClassification

from exrep_hf.data import Augmentation, DistillationDataset, Preprocessing, ViewTransform
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherSource


class Rows(Dataset):
    def __init__(self, count: int = 10, first: int = 0) -> None:
        self.images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        self.first = first

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": self.images[index], "sample_index": index + self.first}


@pytest.fixture
def teacher(network: ResNetForImageClassification, preprocessing: Preprocessing) -> OnlineTeacher:
    return OnlineTeacher(network, preprocessing.to_image_processor())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_answers_are_those_of_the_teacher(dtype: torch.dtype, teacher: OnlineTeacher, tmp_path: Path) -> None:
    """Rows off by one, or out of order, teach each image another image's answer."""
    rows = Rows()
    written = CachedTeacher.write(teacher, rows, tmp_path / "a" / "answers", batch_size=3, dtype=dtype)
    index = torch.tensor([7, 0, 7, 9])
    expected = teacher({"pixel_values": rows.images[index]})
    for cached in (written, CachedTeacher(str(tmp_path / "a" / "answers"))):
        answer = cached({"sample_index": index})
        for name in ("logits", "features"):
            assert answer[name].dtype == torch.float32
            tolerance = 1e-6 if dtype == torch.float32 else 1e-3
            torch.testing.assert_close(answer[name], expected[name], rtol=tolerance, atol=tolerance)
            assert not torch.equal(answer[name][0], answer[name][1])
    assert isinstance(written, TeacherSource) and written.training_images_only and written.preprocessing is None
    assert (written.num_samples, written.num_labels, written.feature_dim) == (10, 3, 6)
    assert written.id2label == {0: "a", 1: "b", 2: "c"}


def test_what_is_written(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    """The manifest says what the answers are answers to, and the sum of the file as `sha256sum` prints it."""
    CachedTeacher.write(teacher, Rows(), tmp_path / "answers")
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    answers = (tmp_path / "answers" / "answers.safetensors").read_bytes()
    resized = {"height": 16, "width": 16, "resize": preprocessing.resize, "interpolation": "bilinear"}
    assert manifest == {
        "format_version": 1,
        "num_samples": 10,
        "num_labels": 3,
        "feature_dim": 6,
        "dtype": "float16",
        "id2label": {"0": "a", "1": "b", "2": "c"},
        "preprocessing": manifest["preprocessing"] | resized,
        "sha256": hashlib.sha256(answers).hexdigest(),
    }
    assert manifest["preprocessing"]["mean"] == [0.5] * 3 and manifest["preprocessing"]["std"] == [0.25] * 3


def test_refused_to_write(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    """Each of these would store answers that belong to something else."""
    folder = tmp_path / "answers"
    with pytest.raises(ValueError, match="`dtype` is torch.bfloat16; expected torch.float16 or torch.float32"):
        CachedTeacher.write(teacher, Rows(), folder, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="from row 0 on have other `sample_index` than their rows"):
        CachedTeacher.write(teacher, Rows(first=1), folder)
    augmented = DistillationDataset.__new__(DistillationDataset)
    augmented.transform = ViewTransform(preprocessing, augmentation=Augmentation())
    with pytest.raises(ValueError, match="augments its images; expected their evaluation view"):
        CachedTeacher.write(teacher, augmented, folder)
    assert not list(tmp_path.iterdir())
    folder.mkdir()
    with pytest.raises(ValueError, match="answers' exists; expected a new folder"):
        CachedTeacher.write(teacher, Rows(), folder)
    assert not list(folder.iterdir())


class Loud:
    """A teacher of one class, whose logits are beyond half precision."""

    num_labels = feature_dim = 1
    id2label: dict[int, str] | None = None
    preprocessing: Preprocessing | None = None
    training_images_only = False

    def __call__(self, batch: Mapping[str, Tensor]) -> TeacherOutput:
        loud = torch.full((len(batch["pixel_values"]), 1), 1e5)
        return TeacherOutput(logits=loud, features=loud)


def test_answers_beyond_half_precision(tmp_path: Path) -> None:
    """An infinity in the store is a NaN in the loss, epochs later."""
    with pytest.raises(ValueError, match="logits for rows 0 to 3 .* outside the range of torch.float16.*float32"):
        CachedTeacher.write(Loud(), Rows(), tmp_path / "answers", batch_size=4)
    assert not list(tmp_path.iterdir())
    loud = CachedTeacher.write(Loud(), Rows(), tmp_path / "answers", dtype=torch.float32)
    assert loud({"sample_index": torch.tensor([3])})["logits"].item() == 1e5


def test_interrupted_write_leaves_no_folder(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """Half of the answers under the final name would be taken for all of them; a next try must work."""
    (tmp_path / ".answers.unfinished").mkdir()
    (tmp_path / ".answers.unfinished" / "rest").write_text("")
    with pytest.raises(ValueError, match="holds no stored answers"):
        CachedTeacher(tmp_path / "answers")
    CachedTeacher.write(teacher, Rows(), tmp_path / "answers")
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {"manifest.json", "answers.safetensors"}


def test_refused_to_read(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """A damaged or foreign folder must be told from a good one before training."""
    folder = tmp_path / "answers"
    with pytest.raises(ValueError, match="answers' holds no stored answers of a teacher .*`CachedTeacher.write` made"):
        CachedTeacher(folder)
    CachedTeacher.write(teacher, Rows(), folder)
    manifest = (folder / "manifest.json").read_text()
    answers = (folder / "answers.safetensors").read_bytes()

    def read(changed: dict[str, Any], content: bytes = answers) -> None:
        (folder / "manifest.json").write_text(json.dumps(json.loads(manifest) | changed))
        (folder / "answers.safetensors").write_bytes(content)
        CachedTeacher(folder)

    read({})
    with pytest.raises(ValueError, match="format version 2; expected 1"):
        read({"format_version": 2})
    for changed in ({"num_samples": 11}, {"num_labels": 4}, {"feature_dim": 5}, {"dtype": "float32"}):
        with pytest.raises(ValueError, match="its manifest says"):
            read(changed)
    with pytest.raises(ValueError, match="can't be read .*Write them again"):
        read({}, answers[:-8])
    save_file({"logits": torch.zeros(10, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="its manifest says"):
        read({}, (tmp_path / "other.safetensors").read_bytes())


def test_batches_that_cant_be_answered(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """A negative index would silently count from the end."""
    cached = CachedTeacher.write(teacher, Rows(), tmp_path / "answers")
    with pytest.raises(ValueError, match=r"has no `sample_index`, only \['pixel_values'\]"):
        cached({"pixel_values": torch.zeros(1, 3, 16, 16)})
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match=f"`sample_index` is {wrong}; expected 0 to 9"):
            cached({"sample_index": torch.tensor([0, wrong])})
