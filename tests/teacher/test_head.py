"""Teachers with another head, or none, round any source; and the head as a file."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.teacher import (
    CachedTeacher,
    FeaturesOnly,
    GivenAnswers,
    LinearProbe,
    OnlineTeacher,
    ProbedTeacher,
    TeacherEnsemble,
    TeacherSource,
    as_teacher,
    fitted_head,
    teacher_names,
)
from exrep_hf.teacher.cache import Provenance, Storage
from exrep_hf.teacher.feature_definition import features_of
from exrep_hf.teacher.feature_moments import stored_statistics
from exrep_hf.teacher.head import source_of, tensors_sha256
from exrep_hf.teacher.head_file import HEAD_NAME, load_head, save_head

WIDTH = 6


@dataclass
class Classes:
    num_labels: int | None = 2
    id2label: Mapping[Any, str] | None = None


def probe(classes: int = 2, width: int = WIDTH, seed: int = 0) -> LinearProbe:
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(classes, width, generator=generator), torch.randn(classes, generator=generator)
    return LinearProbe(weight, bias, 10.0, 0.75, 0.5, 40, 2, 40, classes)


@pytest.fixture
def source(network: Any, preprocessing: Preprocessing) -> OnlineTeacher:
    return OnlineTeacher(network, preprocessing.to_image_processor())


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(5, 3, 16, 16)}


def images(count: int = 8) -> datasets.Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 18, 18, 3), dtype=np.uint8)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["x", "y"]))
    rows = {"image": [Image.fromarray(each) for each in pixels], "label": [row % 2 for row in range(count)]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_logits_are_the_heads(source: OnlineTeacher, batch: dict[str, Tensor]) -> None:
    head = probe()
    teacher = ProbedTeacher(source, Classes(2, {0: "x", 1: "y"}), head)
    plain, found = source(batch), teacher(batch, temperature=3.0)
    assert found.features is not None and plain.features is not None
    assert torch.equal(found.features, plain.features)
    torch.testing.assert_close(found.logits, plain.features @ head.weight.T + head.bias)
    alone = FeaturesOnly(source)(batch)
    assert alone.logits is None and torch.equal(alone.features, plain.features)  # type: ignore[arg-type]


def test_autocast_does_not_round_the_heads_logits(source: OnlineTeacher, batch: dict[str, Tensor]) -> None:
    head = probe()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ProbedTeacher(source, Classes(), head)(batch)
    assert found.features is not None
    assert torch.equal(found.logits, F.linear(found.features, head.weight, head.bias))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [FeaturesOnly, ProbedTeacher])
def test_the_rest_is_the_sources(kind: Any, source: OnlineTeacher) -> None:
    teacher = kind(source) if kind is FeaturesOnly else kind(source, Classes(2, {0: "x", 1: "y"}), probe())
    assert isinstance(teacher, TeacherSource) and as_teacher(teacher) is teacher
    for name in ("feature_dim", "preprocessing", "views"):
        assert getattr(teacher, name) == getattr(source, name)
    assert list(teacher.networks()) == list(source.networks())
    assert source_of(teacher) is source and source_of(FeaturesOnly(teacher)) is source
    assert teacher_names(teacher) == teacher_names(source) and features_of(teacher) == features_of(source)
    assert (teacher.num_labels, teacher.id2label) == ((None, None) if kind is FeaturesOnly else (2, {0: "x", 1: "y"}))
    side_by_side = TeacherEnsemble([teacher, teacher])
    assert side_by_side.feature_dim == 2 * WIDTH and side_by_side.num_labels == teacher.num_labels


def test_the_fingerprint_knows_the_head(source: OnlineTeacher) -> None:
    assert FeaturesOnly(source).fingerprint == source.fingerprint
    first, again, other = (ProbedTeacher(source, Classes(), probe(seed=seed)) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint and first.fingerprint not in (other.fingerprint, source.fingerprint)
    # Without a head it is that of the features.
    assert ProbedTeacher(source, Classes()).fingerprint == source.fingerprint
    assert ProbedTeacher(GivenAnswers(feature_dim=WIDTH), Classes(), probe()).fingerprint is None


def test_what_does_not_fit(source: OnlineTeacher, batch: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"The head has \(classes, width\) \(3, 6\); expected \(2, 6\)"):
        ProbedTeacher(source, Classes(), probe(3))
    with pytest.raises(ValueError, match="a GivenAnswers, gives no features, and a head of its own is all it has"):
        FeaturesOnly(GivenAnswers(num_labels=3))
    with pytest.raises(ValueError, match="The teacher's head is not fitted yet"):
        ProbedTeacher(source, Classes())(batch)


def test_stored_features_with_another_head(source: OnlineTeacher, tmp_path: Path) -> None:
    """A wrapper keeps views and images; temperatures that the stored logits can't be rebuilt for are no matter."""
    views = ViewPolicy(1)
    classes = ["a", "b", "c"]
    rows = images().cast(datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=classes)))
    cached = CachedTeacher.write(source, rows, tmp_path, views, Storage("float32", top_k=1))
    teacher = ProbedTeacher(cached, Classes(), probe())
    assert teacher.views == cached.views and teacher.preprocessing == ()
    teacher.check_temperature(0.1)
    index = {"sample_index": torch.arange(8)}
    features = cached(index).features
    assert features is not None
    torch.testing.assert_close(teacher(index, temperature=0.1).logits, features @ probe().weight.T + probe().bias)
    stored, wrapped = (stored_statistics(each, 8) for each in (cached, teacher))
    assert stored is not None and wrapped is not None and torch.equal(stored[0], wrapped[0])
    with pytest.raises(ValueError, match="another data set"):
        teacher.check_images(rows.select([0, 1]))
    with pytest.raises(ValueError, match="The answers of the teacher, a ProbedTeacher, are stored already"):
        CachedTeacher.write(teacher, rows, tmp_path / "again", views)


def test_answers_with_a_head_are_stored(source: OnlineTeacher, tmp_path: Path) -> None:
    """The manifest tells of the head, which lies beside them; another head's answers are others."""
    head, rows = probe(), images()
    teacher = ProbedTeacher(source, Classes(2, {0: "x", 1: "y"}), head)
    cached = CachedTeacher.write(teacher, rows, tmp_path, provenance=Provenance("me/teacher"))
    told = fitted_head(cached)
    assert (
        told is not None
        and told == fitted_head(teacher)
        and told["sha256"] == tensors_sha256((head.weight, head.bias))
    )
    assert (told["kind"], told["accuracy"], told["images"]) == ("probe", 0.75, 40)
    assert cached.id2label == {0: "x", 1: "y"} and teacher_names(cached) == ["me/teacher"]
    kept = load_head(tmp_path / HEAD_NAME, 2, WIDTH)
    assert torch.equal(kept.weight, head.weight)
    # The same once more, and another one.
    CachedTeacher.write(teacher, rows, tmp_path, provenance=Provenance("me/teacher"))
    teacher.head = probe(seed=1)
    with pytest.raises(ValueError, match="holds other answers than these .*teacher.head.sha256"):
        CachedTeacher.write(teacher, rows, tmp_path, provenance=Provenance("me/teacher"))
    assert fitted_head(source) is None and fitted_head(None) is None
    manifest = tmp_path / "manifest.json"
    content = json.loads(manifest.read_text())
    for wrong in ("probe", {"kind": "probe", "images": 3, "accuracy": "<b>"}, {"kind": "x", "images": 1}):
        content["teacher"]["head"] = wrong
        manifest.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="`teacher.head` is .*expected `kind` 'probe'"):
            CachedTeacher(tmp_path)


def test_a_head_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / HEAD_NAME
    for head in (probe(), dataclasses.replace(probe(), accuracy=None, log_loss=None, held_out=0)):
        save_head(head, path)
        found = load_head(path, 2, WIDTH)
        assert torch.equal(found.weight, head.weight) and torch.equal(found.bias, head.bias)
        for name in ("strength", "accuracy", "log_loss", "images", "views", "held_out", "classes"):
            assert getattr(found, name) == getattr(head, name)
    assert list(tmp_path.iterdir()) == [path]


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def without_facts(path: Path) -> None:
    save_file({"weight": torch.zeros(2, WIDTH), "bias": torch.zeros(2)}, path)


def not_finite(path: Path) -> None:
    save_head(dataclasses.replace(probe(), bias=torch.tensor([0.0, float("nan")])), path)


def wrong_fact(path: Path) -> None:
    save_head(dataclasses.replace(probe(), images=True), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "can't be used"),
        (Path.unlink, "can't be used .*No such file"),
        (without_facts, "can't be used .*probe"),
        (not_finite, "values that are NaN or infinite"),
        (wrong_fact, "its `images` is True"),
        (lambda path: save_head(probe(3), path), r"it holds .*\(3, 6\).*expected .*\(2, 6\)"),
        (lambda path: path.write_bytes(b"\xff" * 64), "can't be used"),
    ],
)
def test_a_file_that_is_no_head_of_this_teacher(spoil: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / HEAD_NAME
    save_head(probe(), path)
    spoil(path)
    with pytest.raises(ValueError, match=message):
        load_head(path, 2, WIDTH)
