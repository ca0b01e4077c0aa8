"""Heads for other classes on trained networks."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from exrep_hf import ExRepForImageClassification
from exrep_hf.models import load_classifier

NAMES = {0: "cat", 1: "dog", 2: "cow"}
VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64}
from_backbone = ExRepForImageClassification.from_backbone


def resnet(**settings: Any) -> ResNetConfig:
    return ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], **settings)


def warmed(model: Any, images: Tensor) -> Any:
    model.train()
    for _ in range(3):
        model(images)
    return model.eval()


def same_body(student: PreTrainedModel, before: dict[str, Tensor], prefix: str = "") -> int:
    """Count the weights of a student that are those of the checkpoint, to the bit."""
    own = student.state_dict()
    return sum(
        prefix + name in own and torch.equal(own[prefix + name], value)
        for name, value in before.items()
        if not name.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("classes", [{"num_labels": 6}, {"id2label": {0: "a", 1: "b"}}])
def test_another_number_of_classes(
    by_name: bool, classes: Any, images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One argument, which says what it does; the rest of the network stays, and training knows that it does."""
    model = warmed(ResNetForImageClassification(resnet(id2label=NAMES)), images)
    model.save_pretrained(tmp_path / "six")
    before = {name: value.clone() for name, value in model.resnet.state_dict().items()}
    given = tmp_path / "six" if by_name else ResNetForImageClassification.from_pretrained(tmp_path / "six")
    student = from_backbone(given, **classes)
    count = classes.get("num_labels", 2)
    assert f"gets an untrained head for {count} classes; its other weights stay" in caplog.text
    assert student(images).logits.shape == (2, count) and student.config.num_labels == count
    assert student.config.id2label == classes.get("id2label", {index: f"LABEL_{index}" for index in range(count)})
    assert same_body(student.classifier, before, "resnet.") == sum("tracked" not in name for name in before)
    assert student.has_new_head and not student.starts_from_nothing
    student.save_pretrained(tmp_path / "saved")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded(images).logits, student.eval()(images).logits)


def test_the_same_classes_keep_their_head(images: Tensor, tmp_path: Path) -> None:
    """And where names may mean others, the user is asked."""
    model = warmed(ResNetForImageClassification(resnet(id2label=NAMES)), images)
    model.save_pretrained(tmp_path)
    expected = model(images).logits
    same: list[Any] = [{}, {"num_labels": 3}, {"id2label": {0: "Cat", 1: "dog", 2: "calf"}}]
    foreign: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c"}}
    for given in [*same, {**foreign, "new_head": False}]:
        student = from_backbone(tmp_path, **given)
        assert torch.equal(student(images).logits, expected) and not student.has_new_head
    with pytest.raises(ValueError, match="head trained for 3 classes, 'cat', .*calls as many 'a', .*`new_head=True`"):
        from_backbone(tmp_path, **foreign)
    student = from_backbone(tmp_path, **foreign, new_head=True)
    assert student.has_new_head and not torch.equal(student(images).logits, expected)
    assert student.config.id2label == foreign["id2label"]
    with pytest.raises(ValueError, match="has weights for 3 classes and 4 were asked for.*num_labels=4"):
        from_backbone(tmp_path, num_labels=4, new_head=False)


@pytest.mark.parametrize("kind", ["resnet", "vit", "dinov2"])
def test_backbones_of_transformers(kind: str, images: Tensor, tmp_path: Path) -> None:
    """Weights of a network without a classifier: all are taken, and the head alone is new."""
    made: dict[str, Any] = {
        "resnet": lambda: ResNetModel(resnet()),
        "vit": lambda: ViTModel(ViTConfig(intermediate_size=20, **VIT)),
        "dinov2": lambda: Dinov2Model(Dinov2Config(mlp_ratio=1, patch_size=16, **VIT)),
    }
    body = made[kind]().eval()
    body.save_pretrained(tmp_path / "body")
    with pytest.raises(ValueError, match="no weights for classifier.*from_backbone.…, num_labels=…"):
        from_backbone(tmp_path / "body")
    student = from_backbone(tmp_path / "body", num_labels=5).eval()
    assert student.has_new_head and not student.starts_from_nothing
    state = {name: value for name, value in body.state_dict().items() if not name.startswith("pooler")}
    assert same_body(student.classifier, state, f"{kind}.") == sum("tracked" not in name for name in state)
    assert student(images).logits.shape == (2, 5)
    student.without_distiller().save_pretrained(tmp_path / "plain")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "plain")
    assert torch.equal(loaded(images).logits, student(images).logits)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "levit_128s", "convnext_atto"])
def test_networks_of_timm_without_classes(name: str, tmp_path: Path) -> None:
    size = 224 if name == "levit_128s" else 160 if name == "test_vit" else 64
    images = torch.randn(2, 3, size, size)
    body = warmed(timm.create_model(name, num_classes=0), images)
    save_for_hf(body, str(tmp_path / "body"), safe_serialization=True)
    with pytest.raises(ValueError, match="has no head: it is a network without a classifier.*num_labels=…"):
        from_backbone(tmp_path / "body")
    student = from_backbone(tmp_path / "body", num_labels=5).eval()
    state = body.state_dict()
    found = same_body(student.classifier, state, "timm_model.")
    assert found == sum(not each.endswith("num_batches_tracked") for each in state)
    with torch.no_grad():  # LeViT keeps what it computes
        logits = student(images).logits
    assert logits.shape == (2, 5) and student.has_new_head
    student.without_distiller().save_pretrained(tmp_path / "plain")
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "plain")
    assert torch.equal(loaded(images).logits, logits)
    again = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    assert torch.equal(again(images), logits)


@pytest.mark.parametrize("name", ["repvit_m0_9", "deit_tiny_distilled_patch16_224"])
def test_heads_of_timm_with_two_parts(name: str, tmp_path: Path) -> None:
    """RepViT's own `reset_classifier` leaves one of its two heads out, which loading then misses."""
    images = torch.randn(2, 3, 224, 224)
    load_classifier(f"timm/{name}", num_labels=3, pretrained=False).save_pretrained(tmp_path / "old")
    old = load_classifier(tmp_path / "old").state_dict()
    student = from_backbone(tmp_path / "old", num_labels=5).eval()
    new = student.classifier.state_dict()
    assert new.keys() == old.keys()
    other = {key for key in old if not torch.equal(old[key], new[key])}
    assert other and all(key.startswith(("timm_model.head.", "timm_model.head_dist.")) for key in other)
    student.without_distiller().save_pretrained(tmp_path / "plain")
    loaded = load_classifier(tmp_path / "plain")
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, student(images).logits)


@pytest.mark.parametrize("count", [2, 3])
def test_names_in_files_of_timm(count: int, tmp_path: Path) -> None:
    """They are of the head that was there, and were saved with the one that came for it."""
    load_classifier("timm/test_resnet", id2label=NAMES, pretrained=False).save_pretrained(tmp_path / "old")
    names = dict(enumerate("abc"[:count]))
    for new_head in (True, None) if count == 2 else (True, False):
        student = from_backbone(tmp_path / "old", id2label=names, new_head=new_head)
        student.without_distiller().save_pretrained(tmp_path / "plain")
        student.save_pretrained(tmp_path / "student")
        for folder in ("plain", "student"):
            assert AutoModelForImageClassification.from_pretrained(tmp_path / folder).config.id2label == names


def test_a_part_of_a_body_is_no_body(tmp_path: Path) -> None:
    """That a head is new is no reason to draw other weights at random."""
    body = ResNetModel(resnet())
    state = {name: value for name, value in body.state_dict().items() if "stages.1" not in name}
    body.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"no weights for resnet\.encoder\.stages\.1"):
        from_backbone(tmp_path, num_labels=3)
    with pytest.raises(ValueError, match="no weights for classifier"):
        load_classifier(tmp_path)
