"""Several teachers that answer as one."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import timm
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf.data import (
    Augmentation,
    DistillationDataset,
    Preprocessing,
    ViewPolicy,
    ViewTransform,
    collate_distillation,
)
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.data.pixels import teacher_pixels_name
from exrep_hf.teacher import CachedTeacher, OnlineTeacher, TeacherEnsemble
from exrep_hf.teacher.cache import Storage
from tests.teacher.test_cached import Rows, pictures

SMALL = Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.25,) * 3)
LARGE = Preprocessing(20, 20, None, "bicubic", (0.4,) * 3, (0.2,) * 3)


def member(seed: int, width: int, preprocessing: Preprocessing, names: str = "abc") -> OnlineTeacher:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ResNetConfig(
            embedding_size=4,
            hidden_sizes=[4, width],
            depths=[1, 1],
            layer_type="basic",
            id2label=dict(enumerate(names)),
        )
        model = ResNetForImageClassification(config).train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(8, 3, 16, 16))
    return OnlineTeacher(model, preprocessing.to_image_processor())


@pytest.fixture
def members() -> list[OnlineTeacher]:
    return [member(1, 6, SMALL), member(2, 5, LARGE)]


def plainly(members: list[OnlineTeacher], images: datasets.Dataset, weights: tuple[float, ...]) -> tuple[Any, Any]:
    """Weighted mean of logits, and features side by side, without any of our classes."""
    logits, features = [], []
    for teacher, weight in zip(members, weights, strict=True):
        (preprocessing,) = teacher.preprocessing
        assert preprocessing is not None
        pixels = torch.stack([preprocessing.evaluation(image) for image in images["image"]])
        model: Any = teacher.model
        with torch.no_grad():
            logits.append(weight * model(pixels).logits)
            features.append(model.resnet(pixels).pooler_output.flatten(1))
    return sum(logits), torch.cat(features, 1)


def test_answers(members: list[OnlineTeacher]) -> None:
    """Each network is shown its own pixels, and counts as much as asked."""
    images = pictures()
    ensemble = TeacherEnsemble(members, [1, 3])
    transform = ViewTransform(Preprocessing(8, 8, None, "bilinear", (0.1,) * 3, (0.5,) * 3), [SMALL, LARGE])
    batch = collate_distillation([transform(image) for image in images["image"]])
    assert [*batch] == ["pixel_values", "teacher_pixel_values_0", "teacher_pixel_values_1"]
    logits, features = plainly(members, images, (0.25, 0.75))
    answer = ensemble(batch, temperature=4.0)
    torch.testing.assert_close(answer["logits"], logits)
    torch.testing.assert_close(answer["features"], features)
    assert (ensemble.num_labels, ensemble.feature_dim, ensemble.views) == (3, 11, None)
    assert ensemble.preprocessing == (SMALL, LARGE) and ensemble.id2label == {0: "a", 1: "b", 2: "c"}
    assert ensemble.weights == (0.25, 0.75)
    # An ensemble is a teacher as any other: here one of two, of which one is an ensemble.
    nested = TeacherEnsemble([TeacherEnsemble([members[0]]), members[1]])
    torch.testing.assert_close(nested(batch)["logits"], plainly(members, images, (0.5, 0.5))[0])


def test_the_students_pixels_serve_too(members: list[OnlineTeacher]) -> None:
    """A set that is the student's is not made twice, and still reaches the right network."""
    images = pictures()
    for student, own in ((SMALL, "teacher_pixel_values_1"), (LARGE, "teacher_pixel_values_0")):
        transform = ViewTransform(student, [SMALL, LARGE])
        batch = collate_distillation([transform(image) for image in images["image"]])
        assert [*batch] == ["pixel_values", own]
        torch.testing.assert_close(TeacherEnsemble(members)(batch)["logits"], plainly(members, images, (0.5, 0.5))[0])


def test_batches_for_another_number_of_teachers(members: list[OnlineTeacher]) -> None:
    """One set of pixels under the name for one would be taken for nobody's."""
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"\['teacher_pixel_values'\], and the teacher wants 2 sets"):
        TeacherEnsemble(members)({"pixel_values": images, "teacher_pixel_values": images})
    with pytest.raises(ValueError, match=r"\['teacher_pixel_values_1'\], and the teacher wants 1 set of pixels"):
        members[0]({"pixel_values": images, "teacher_pixel_values_1": images})
    with pytest.raises(ValueError, match=r"neither \['teacher_pixel_values_1'\] nor `pixel_values`"):
        TeacherEnsemble(members)({"teacher_pixel_values_0": images})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "`weights` has 1 numbers; expected 2"),
        ([1, 2, 3], "`weights` has 3 numbers; expected 2"),
        ([1, -1], r"`weights` is \[1.0, -1.0\]; expected finite numbers ≥ 0"),
        ([0, 0], "one of them above 0"),
        ([1, float("nan")], "finite"),
        ([1, float("inf")], "finite"),
    ],
)
def test_weights_that_weigh_nothing(weights: list[float], message: str, members: list[OnlineTeacher]) -> None:
    with pytest.raises(ValueError, match=message):
        TeacherEnsemble(members, weights)


def test_classes_in_another_order(members: list[OnlineTeacher]) -> None:
    """The mean is of what the teachers say of the same class, in the order of the first."""
    other = OnlineTeacher(members[0].model, SMALL.to_image_processor())
    other.id2label = dict(enumerate("cab"))
    pixels = torch.randn(2, 3, 16, 16)
    both = TeacherEnsemble([members[0], other])
    answer = both({teacher_pixels_name(place, 2): pixels for place in range(2)}).logits
    own = members[0]({"pixel_values": pixels}).logits
    assert answer is not None and own is not None
    assert torch.allclose(answer, (own + own[:, [1, 2, 0]]) / 2, atol=1e-6)


def test_members_with_other_classes(members: list[OnlineTeacher], caplog: pytest.LogCaptureFixture) -> None:
    """The mean is of the classes that all have, and those that one lacks are named."""
    pixels = torch.randn(2, 3, 16, 16)
    batch = {teacher_pixels_name(place, 2): pixels for place in range(2)}

    def plain(teacher: OnlineTeacher, columns: list[int]) -> torch.Tensor:
        logits = teacher({"pixel_values": pixels}).logits
        assert logits is not None
        return logits[:, columns]

    more = member(3, 6, SMALL, "dbca")
    both = TeacherEnsemble([more, members[0]])
    assert both.id2label == {0: "a", 1: "b", 2: "c"} and not caplog.messages
    expected = (plain(more, [3, 1, 2]) + plain(members[0], [0, 1, 2])) / 2
    torch.testing.assert_close(both(batch).logits, expected)
    other = member(3, 6, SMALL, "Cbdx")
    both = TeacherEnsemble([members[0], other], [3, 1])
    assert both.num_labels == 2 and both.id2label == {0: "b", 1: "c"}
    torch.testing.assert_close(both(batch).logits, plain(members[0], [1, 2]) * 0.75 + plain(other, [1, 0]) * 0.25)
    assert (
        "Teacher 1 of the ensemble does not know 1 of the 3 classes of teacher 0 of the ensemble ('a')" in caplog.text
    )


def test_members_that_don_t_fit(members: list[OnlineTeacher], tmp_path: Path) -> None:
    """The mean of different classes, or of answers to different views, is noise."""
    with pytest.raises(ValueError, match="`teachers` holds 0 teachers"):
        TeacherEnsemble([])
    with pytest.raises(
        ValueError, match="Teacher 0 of the ensemble has 2 of 3 .* teacher 1 of the ensemble .* 'b', 'c'"
    ):
        TeacherEnsemble([members[0], member(3, 6, SMALL, "ade")])
    with pytest.raises(ValueError, match="The teachers of the ensemble have 1 classes in common"):
        TeacherEnsemble([members[0], member(3, 6, SMALL, "abd"), member(4, 6, SMALL, "cbd")])
    nameless = member(3, 6, SMALL)
    nameless.id2label = None
    with pytest.raises(ValueError, match="Teacher 0 of the ensemble has 3 classes without names, and teacher 1"):
        TeacherEnsemble([nameless, members[0]])
    assert TeacherEnsemble([nameless, members[0]], classes="position").id2label == {0: "a", 1: "b", 2: "c"}
    stored = CachedTeacher.write(members[0], Rows(), tmp_path / "a")
    with pytest.raises(ValueError, match="Teacher 1 of the ensemble can be queried on the views .*on any image"):
        TeacherEnsemble([members[1], stored])
    # At another size, timm's policies do something else to the same image.
    views = ViewPolicy(2, 1, Augmentation(auto_augment="rand-m5"))
    both = [CachedTeacher.write(each, pictures(), tmp_path / each.fingerprint, views) for each in members]
    with pytest.raises(ValueError, match="expected the same. Store the answers of all for the same views"):
        TeacherEnsemble(both)
    again = CachedTeacher.write(member(3, 6, SMALL), pictures(), tmp_path / "again", views)
    assert TeacherEnsemble([both[0], again]).views == both[0].views


def test_names(members: list[OnlineTeacher]) -> None:
    """Another weight, teacher or order is another teacher, to a checkpoint and to stored answers."""
    names = {
        TeacherEnsemble(members).fingerprint,
        TeacherEnsemble(members, [1, 2]).fingerprint,
        TeacherEnsemble(members[::-1]).fingerprint,
        TeacherEnsemble([members[0], members[0]]).fingerprint,
    }
    assert len(names) == 4 and None not in names
    assert TeacherEnsemble(members, [2, 2]).fingerprint == TeacherEnsemble(members).fingerprint
    assert [*TeacherEnsemble(members).networks()] == [each.model for each in members]


def test_stored_answers_of_an_ensemble(members: list[OnlineTeacher], tmp_path: Path) -> None:
    """Written from images that each network sees in its own size, and right at every temperature."""
    images = pictures()
    ensemble = TeacherEnsemble(members, [1, 3])
    cached = CachedTeacher.write(ensemble, images, tmp_path / "answers", storage=Storage("float32"))
    logits, features = plainly(members, images, (0.25, 0.75))
    index = {"sample_index": torch.tensor([4, 0, 5])}
    for temperature in (1.0, 4.0):
        answer = cached(index, temperature=temperature)
        torch.testing.assert_close(answer["logits"], logits[index["sample_index"]])
        torch.testing.assert_close(answer["features"], features[index["sample_index"]])
    assert cached.stored_preprocessing == (SMALL, LARGE)
    written = json.loads((tmp_path / "answers" / "manifest.json").read_text())
    assert [each["height"] for each in written["preprocessing"]] == [16, 20]
    with pytest.raises(ValueError, match="holds other answers than these .*weights_sha256"):
        CachedTeacher.write(TeacherEnsemble(members), images, tmp_path / "answers", storage=Storage("float32"))


def test_an_ensemble_of_stored_answers(members: list[OnlineTeacher], tmp_path: Path) -> None:
    """The answers of both for the same views; each is checked against the images, and against the temperature."""
    images, index = pictures(), {"sample_index": torch.tensor([1, 3])}
    stored = [
        CachedTeacher.write(each, images, tmp_path / str(width), storage=Storage("float32"))
        for width, each in enumerate(members)
    ]
    ensemble = TeacherEnsemble(stored)
    logits, features = plainly(members, images, (0.5, 0.5))
    torch.testing.assert_close(ensemble(index)["logits"], logits[index["sample_index"]])
    torch.testing.assert_close(ensemble(index)["features"], features[index["sample_index"]])
    assert ensemble.preprocessing == () and ensemble.views == stored[0].views
    other = CachedTeacher.write(members[1], images.select(range(5)), tmp_path / "fewer")
    part = CachedTeacher.write(members[1], images, tmp_path / "part", storage=Storage(top_k=1))
    prepared: Any = _prepared(images)
    ensemble.check_images(prepared)
    with pytest.raises(ValueError, match="stored for another data set: one with 5 images"):
        TeacherEnsemble([stored[0], other]).check_images(prepared)
    ensemble.check_temperature(0.1)
    with pytest.raises(ValueError, match="`temperature` is 0.1"):
        TeacherEnsemble([stored[0], part]).check_temperature(0.1)


def _prepared(images: datasets.Dataset) -> Any:
    return ReplayedDataset(DistillationDataset(images, ViewTransform(SMALL), "image", "label"), ViewPolicy())


def test_teachers_without_heads() -> None:
    """Their features stand side by side; beside a classifier there would be logits of some teachers only."""
    first, second = (OnlineTeacher(timm.create_model("test_resnet", num_classes=0)) for _ in range(2))
    both = TeacherEnsemble([first, second])
    images = torch.randn(2, 3, 32, 32)
    answer = both({"teacher_pixel_values_0": images, "teacher_pixel_values_1": images})
    assert (both.num_labels, both.feature_dim, answer.logits) == (None, 192, None)
    parts = [each({"pixel_values": images})["features"] for each in (first, second)]
    assert torch.equal(answer["features"], torch.cat(parts, -1))
    with pytest.raises(ValueError, match="has 1000 classes and teacher 0 has no logits|has no logits and teacher"):
        TeacherEnsemble([first, OnlineTeacher(timm.create_model("test_resnet"))])
