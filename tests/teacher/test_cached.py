"""Stored answers: written once, found by row and view."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetForImageClassification

from exrep_hf.data import Augmentation, DistillationDataset, Mixing, Preprocessing, ViewPolicy, ViewTransform
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherSource, check_views
from exrep_hf.teacher.cache import Provenance, Storage
from exrep_hf.teacher.identity import network_sha256


class Rows(Dataset):
    def __init__(self, count: int = 10, first: int = 0, noise: float = 0.0) -> None:
        self.images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        self.first, self.noise = first, noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index] + self.noise * torch.randn(3, 16, 16)
        return {"pixel_values": image, "sample_index": index + self.first, "labels": index % 3}


@pytest.fixture
def teacher(network: ResNetForImageClassification, preprocessing: Preprocessing) -> OnlineTeacher:
    return OnlineTeacher(network, preprocessing.to_image_processor())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 1e-2)])
def test_answers_are_those_of_the_teacher(
    dtype: str, tolerance: float, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Rows off by one, or out of order, teach each image another image's answer; batches of 3 end with files of 4."""
    rows = Rows()
    storage = Storage(dtype, rows_per_shard=4, batch_size=3)
    written = CachedTeacher.write(teacher, rows, tmp_path / "a" / "answers", storage=storage)
    index = torch.tensor([7, 0, 7, 9, 4])
    expected = teacher({"pixel_values": rows.images[index]})
    for cached in (written, CachedTeacher(str(tmp_path / "a" / "answers"))):
        answer = cached({"sample_index": index})
        for name in ("logits", "features"):
            assert answer[name].dtype == torch.float32
            torch.testing.assert_close(answer[name], expected[name], rtol=tolerance, atol=tolerance)
            assert not torch.equal(answer[name][0], answer[name][1])
    assert isinstance(written, TeacherSource) and written.views == ViewPolicy() and written.preprocessing == ()
    assert (written.num_samples, written.num_labels, written.feature_dim) == (10, 3, 6)
    assert written.id2label == {0: "a", 1: "b", 2: "c"}


def test_answers_of_several_views(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """Each view has answers of its own, for the pixels that the data set gives for it."""
    rows, views = Rows(noise=1.0), ViewPolicy(3, 8, None, Mixing(mixup=1.0))
    cached = CachedTeacher.write(teacher, rows, tmp_path / "answers", views, Storage("float32", rows_per_shard=4))
    replayed = ReplayedDataset(rows, views)
    for view in (2, 0, 1):
        replayed.set_epoch(view)
        for row in (9, 0):
            expected = teacher({"pixel_values": replayed[row]["pixel_values"][None]})
            answer = cached({"sample_index": torch.tensor([row]), "view": torch.tensor([view])})
            torch.testing.assert_close(answer["logits"], expected["logits"])
    mixed = cached({"sample_index": torch.tensor([3, 3]), "view": torch.tensor([1, 2])})["logits"]
    assert not torch.allclose(mixed[0], mixed[1])
    with pytest.raises(ValueError, match=r"no `view`, only \['sample_index'\], and answers are stored for 3 views"):
        cached({"sample_index": torch.tensor([3])})
    with pytest.raises(ValueError, match="`view` is 3; expected 0 to 2"):
        cached({"sample_index": torch.tensor([3]), "view": torch.tensor([3])})


def test_top_k(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """The softmax at the temperature asked for is the teacher's own on the classes kept."""
    rows = Rows()
    cached = CachedTeacher.write(teacher, rows, tmp_path / "answers", storage=Storage("float32", top_k=1))
    expected = teacher({"pixel_values": rows.images})["logits"]
    best = expected.argmax(-1, keepdim=True)
    for temperature in (1.0, 4.0):
        answer = cached({"sample_index": torch.arange(10)}, temperature=temperature)["logits"]
        found = (answer / temperature).softmax(-1)
        torch.testing.assert_close(found.gather(1, best), (expected / temperature).softmax(-1).gather(1, best))
    cached.check_temperature(0.5)
    with pytest.raises(ValueError, match="`temperature` is 0.4; answers stored with `top_k` can be rebuilt"):
        cached.check_temperature(0.4)
    with pytest.raises(ValueError, match="`top_k` is 3; expected fewer than the teacher's 3 classes"):
        CachedTeacher.write(teacher, rows, tmp_path / "more", storage=Storage(top_k=3))
    assert not (tmp_path / "more").exists()


def test_what_the_manifest_says(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    rows = Rows()
    provenance = Provenance("me/teacher", "v1", "mit", "me/images", "cc0-1.0")
    views = ViewPolicy(2, 3, None, Mixing(cutmix=0.5))
    CachedTeacher.write(teacher, rows, tmp_path / "answers", views, Storage(rows_per_shard=6), provenance)
    manifest = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    assert manifest["teacher"] == {
        "name": "me/teacher",
        "revision": "v1",
        "license": "mit",
        "weights_sha256": network_sha256(teacher.model),
        "num_labels": 3,
        "feature_dim": 6,
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
    assert manifest["preprocessing"]["interpolation"] == "bilinear" and manifest["preprocessing"]["mean"] == [0.5] * 3
    assert manifest["dataset"]["num_samples"] == 10 and manifest["dataset"]["name"] == "me/images"
    assert manifest["views"] == {
        "views": 2,
        "seed": 3,
        "augmentation": None,
        "mixing": {"mixup": 0.0, "cutmix": 0.5},
        "rule": 2,
    }
    assert [*manifest["shards"]] == [
        f"view-000{view}/shard-0000{number}.safetensors" for view in (0, 1) for number in (0, 1)
    ]
    assert {"torch", "timm", "pillow"} <= manifest["versions"].keys()


def test_top1_of_the_summary(teacher: OnlineTeacher, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Counted while answers are stored, from what is stored; a warning where nearly all labels are missed."""
    rows = Rows(600)
    right = teacher({"pixel_values": rows.images})["logits"].argmax(-1) == torch.arange(600) % 3
    cached = CachedTeacher.write(teacher, rows, tmp_path / "a", storage=Storage(rows_per_shard=250), expected_top1=0.5)
    assert cached.manifest.summary == {"labelled": 600, "top1": pytest.approx(right.float().mean().item())}
    assert not caplog.messages
    # Few images too: said when all are stored.
    caplog.clear()
    CachedTeacher.write(teacher, Rows(20), tmp_path / "c", expected_top1=1.0)
    assert "of 20 images, less than half" in caplog.text
    CachedTeacher.write(teacher, rows, tmp_path / "b", expected_top1=0.95)
    assert "less than half of the expected 95.0 %: are the labels in its order" in caplog.text


class OtherOrder(Rows):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**super().__getitem__(index), "sample_index": len(self) - 1 - index}


def test_refused_to_write(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    """Each of these would store answers that belong to something else."""
    with pytest.raises(ValueError, match="`dtype` is 'int8'; expected one of float16, bfloat16, float32"):
        Storage("int8")
    with pytest.raises(ValueError, match="`rows_per_shard` is 0; expected at least 1"):
        Storage(rows_per_shard=0)
    with pytest.raises(ValueError, match="Row 0 of the data set has the `sample_index` 9; answers are stored"):
        CachedTeacher.write(teacher, OtherOrder(), tmp_path / "a")
    augmented = DistillationDataset.__new__(DistillationDataset)
    augmented.transform = ViewTransform(preprocessing, augmentation=Augmentation())
    with pytest.raises(ValueError, match="The data set augments its images by Augmentation.*; expected None"):
        CachedTeacher.write(teacher, augmented, tmp_path / "b")
    bare = OnlineTeacher(teacher.model)
    bare.preprocessing = (None,)
    pixels = [Image.fromarray(np.zeros((16, 16, 3), np.uint8))]
    images = datasets.Dataset.from_dict({"image": pixels}, features=datasets.Features(image=datasets.Image()))
    with pytest.raises(
        ValueError,
        match=r"How the teacher, a ResNetFor\w+, wants its images is not.*OnlineTeacher\(model, processing_class, …",
    ):
        CachedTeacher.write(bare, images, tmp_path / "c")


class Loud(TeacherSource):
    """A teacher of one class, whose logits are beyond half precision."""

    num_labels = feature_dim = 1
    preprocessing: tuple[Preprocessing | None, ...] = (None,)

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        loud = torch.full((len(batch["pixel_values"]), 1), 1e5)
        return TeacherOutput(logits=loud, features=loud)


def test_answers_beyond_half_precision(tmp_path: Path) -> None:
    """An infinity in the store is a NaN in the loss, epochs later."""
    storage = Storage(batch_size=4)
    with pytest.raises(ValueError, match="4 of 4 images.* row 3 in view 0.* range of torch.float16: .*`float32`"):
        CachedTeacher.write(Loud(), Rows(), tmp_path / "answers", storage=storage)
    loud = CachedTeacher.write(Loud(), Rows(), tmp_path / "other", storage=Storage("bfloat16"))
    assert loud({"sample_index": torch.tensor([3])})["logits"].item() == pytest.approx(1e5, rel=1e-2)


def test_batches_that_cant_be_answered(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """A negative index would silently count from the end."""
    cached = CachedTeacher.write(teacher, Rows(), tmp_path / "answers")
    with pytest.raises(ValueError, match=r"has no `sample_index`, only \['pixel_values'\]"):
        cached({"pixel_values": torch.zeros(1, 3, 16, 16)})
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match=f"`sample_index` is {wrong}; expected 0 to 9"):
            cached({"sample_index": torch.tensor([0, wrong])})


def test_other_images_are_refused(teacher: OnlineTeacher, tmp_path: Path) -> None:
    cached = CachedTeacher.write(teacher, Rows(), tmp_path / "answers")
    cached.check_images(Rows())
    for other in (Rows(9), Rows(11)):
        with pytest.raises(
            ValueError, match="stored for another data set: one with 10 images, fingerprint [0-9a-f]+; "
        ):
            cached.check_images(other)
    changed = Rows()
    changed.images[0] += 1
    with pytest.raises(ValueError, match="`train_dataset` has 10, fingerprint"):
        cached.check_images(changed)


def test_other_views_are_refused(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """Both values are named; the seed is the stored one, whatever the run's."""
    stored = ViewPolicy(2, 3, None, Mixing(mixup=0.5))
    cached = CachedTeacher.write(teacher, Rows(), tmp_path / "answers", stored)
    assert cached.views == stored
    check_views(stored, ViewPolicy(1, 99, None, Mixing(mixup=0.5)), number_given=False)
    for wanted, difference in (
        (ViewPolicy(1, 3, None, Mixing(mixup=0.5)), "`views` 2 stored, 1 now"),
        (ViewPolicy(2, 3, None, Mixing(mixup=1.0)), "`mixup` 0.5 stored, 1.0 now"),
        (ViewPolicy(2, 3, None, Mixing(mixup=0.5, cutmix=0.1)), "`cutmix` 0.0 stored, 0.1 now"),
        (ViewPolicy(2, 3, Augmentation(), Mixing(mixup=0.5)), "`augmentation` None stored, Augmentation"),
    ):
        with pytest.raises(ValueError, match=difference):
            check_views(cached.views, wanted, number_given=True)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match="empty' holds no stored answers of a teacher .*`CachedTeacher.write` finished"
    ):
        CachedTeacher(tmp_path / "empty")
    with pytest.raises(ValueError, match="A revision, 'v1', was given for the folder"):
        CachedTeacher(tmp_path / "empty", revision="v1")
    with pytest.raises(ValueError, match="`verify` is 'all'; expected `sample` or `full`"):
        CachedTeacher(tmp_path / "empty", verify="all")


class OwnGenerator(Rows):
    """Draws from a generator that no seed of ours reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            **super().__getitem__(index),
            "pixel_values": torch.from_numpy(self.rng.normal(size=(3, 16, 16))).float(),
        }


def test_items_that_are_not_made_again_are_refused(teacher: OnlineTeacher, tmp_path: Path) -> None:
    """The student would see other pixels than the teacher was asked about, without an error."""
    with pytest.raises(ValueError, match="Row 0 of the data set differs when it is made again"):
        CachedTeacher.write(teacher, OwnGenerator(), tmp_path / "a")
    cached = CachedTeacher.write(teacher, Rows(), tmp_path / "b")
    for wrong, message in (
        (OwnGenerator(), "differs when it is made again|another data set"),
        (OtherOrder(), "another"),
    ):
        with pytest.raises(ValueError, match=message):
            cached.check_images(ReplayedDataset(wrong, cached.views))


def pictures(count: int = 6) -> datasets.Dataset:
    rng = np.random.default_rng(3)
    made = [Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)) for _ in range(count)]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"]))
    return datasets.Dataset.from_dict({"image": made, "label": [row % 3 for row in range(count)]}, features=features)


def test_whatever_the_trainer_takes(teacher: OnlineTeacher, preprocessing: Preprocessing, tmp_path: Path) -> None:
    """A data set that was prepared for a student is asked about as the teacher wants it; tensors too."""
    images = pictures()
    expected = CachedTeacher.write(teacher, images, tmp_path / "a", storage=Storage("float32"))
    small = Preprocessing(8, 8, None, "bilinear", (0.1,) * 3, (0.5,) * 3)
    prepared = DistillationDataset(images, ViewTransform(small, [preprocessing]), "image", "label")
    index = {"sample_index": torch.arange(6)}
    of_student = CachedTeacher.write(teacher, prepared, tmp_path / "b", storage=Storage("float32"))
    assert torch.equal(of_student(index)["logits"], expected(index)["logits"])
    tensors = [preprocessing.evaluation(picture).tolist() for picture in images["image"]]
    columns = datasets.Dataset.from_dict({"pixel_values": tensors})
    stored = CachedTeacher.write(teacher, columns, tmp_path / "c", storage=Storage("float32"))
    torch.testing.assert_close(stored(index)["logits"], expected(index)["logits"])

    def transform(rows: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [preprocessing.evaluation(each) for each in rows["image"]]}

    own = CachedTeacher.write(teacher, images.with_transform(transform), tmp_path / "d", storage=Storage("float32"))
    assert torch.equal(own(index)["logits"], expected(index)["logits"])

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(ValueError, match="is a Stream, which only yields its items one by one"):
        CachedTeacher.write(teacher, Stream(), tmp_path / "e")


def test_images_without_a_class_don_t_count(teacher: OnlineTeacher, tmp_path: Path) -> None:
    class Unlabelled(Rows):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {**super().__getitem__(index), "labels": -1 if index % 2 else index % 3}

    assert CachedTeacher.write(teacher, Unlabelled(), tmp_path / "a").manifest.summary["labelled"] == 5
