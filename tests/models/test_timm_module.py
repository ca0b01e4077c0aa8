"""What `timm.create_model` made, as a student."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from transformers import AutoModelForImageClassification, TimmWrapperForImageClassification

from exrep_hf import ExRepForImageClassification
from exrep_hf.models.timm_module import has_learnt, timm_names, wrap_timm

from_backbone = ExRepForImageClassification.from_backbone


def trained(name: str, size: int = 64, **settings: Any) -> Any:
    model: Any = timm.create_model(name, **settings).train()
    images = torch.randn(2, settings.get("in_chans", 3), size, size)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(2):
        model(images).square().mean().backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("test_resnet", 64, {"num_classes": 6}),
        ("test_efficientnet", 64, {"num_classes": 6, "in_chans": 1}),
        ("test_vit", 32, {"num_classes": 6, "img_size": 32, "in_chans": 4}),
        ("test_vit", 160, {"num_classes": 6, "global_pool": "avg"}),
        ("test_convnext", 64, {"num_classes": 6, "global_pool": "max"}),
        ("test_resnet", 64, {"num_classes": 6, "global_pool": "max"}),
    ],
)
def test_saved_and_loaded(name: str, size: int, settings: dict[str, Any], tmp_path: Path) -> None:
    """With its weights and what it was built with: in the form of timm, and in that of transformers."""
    module = trained(name, size, **settings)
    images = torch.randn(2, settings.get("in_chans", 3), size, size)
    expected = module(images)
    state = torch.get_rng_state()
    wrap_timm(module)
    assert torch.equal(torch.get_rng_state(), state)
    student = from_backbone(module)
    assert not student.training
    assert isinstance(student.classifier, TimmWrapperForImageClassification)
    assert student.classifier.timm_model is module and torch.equal(student(images).logits, expected)
    assert not student.starts_from_nothing and not student.has_new_head
    assert (student.config.num_labels, student.config.num_channels) == (6, settings.get("in_chans", 3))
    student.without_distiller().save_pretrained(tmp_path / "plain")
    student.save_pretrained(tmp_path / "student")
    for folder in ("plain", "student"):
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path / folder).eval()
        assert torch.equal(loaded(images).logits, expected), folder
    again = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    assert torch.equal(again(images), expected)


def test_names_and_heads(tmp_path: Path) -> None:
    student = from_backbone(timm.create_model("test_resnet", num_classes=3), id2label={0: "a", 1: "b", 2: "c"})
    assert student.config.id2label == {0: "a", 1: "b", 2: "c"} and student.starts_from_nothing
    named: Any = from_backbone(timm.create_model("test_resnet")).config.id2label
    assert named[0] == "tench, Tinca tinca"
    for count in (0, 4):
        module = trained("test_resnet", num_classes=count)
        student = from_backbone(module, num_labels=7).eval()
        assert student.has_new_head and student(torch.zeros(1, 3, 64, 64)).logits.shape == (1, 7)
        student.save_pretrained(tmp_path / str(count))
        loaded = AutoModelForImageClassification.from_pretrained(tmp_path / str(count)).eval()
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(loaded(images).logits, student(images).logits)
    with pytest.raises(ValueError, match="The ResNet has no head.*num_labels=…"):
        from_backbone(timm.create_model("test_resnet", num_classes=0))


def test_what_can_t_be_built_again() -> None:
    """It would be published, and load nowhere; or load, and answer otherwise."""
    other = timm.create_model("test_vit", num_classes=3, depth=2)
    with pytest.raises(ValueError, match="can't be built again from its name 'test_vit' and no other .*blocks"):
        from_backbone(other)
    changed = trained("test_resnet", num_classes=3)
    changed.layer1 = nn.Identity()
    with pytest.raises(ValueError, match="can't be built again from its name 'test_resnet'"):
        from_backbone(changed)
    silent = trained("test_resnet", num_classes=3)
    silent.act1 = nn.Identity()
    silent.layer1[0].act2 = nn.Sigmoid()
    with pytest.raises(ValueError, match="with the same weights it gives other logits"):
        from_backbone(silent)


def test_modes_are_kept() -> None:
    """A part that its owner froze stays so."""
    module = timm.create_model("test_resnet", num_classes=3).train()
    module.get_submodule("bn1").eval()
    modes = [layer.training for layer in module.modules()]
    wrap_timm(module)
    assert [layer.training for layer in module.modules()] == modes
    assert from_backbone(module).training


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "fastvit_t8"])
def test_weights_that_have_learnt(name: str) -> None:
    """The learning rate is chosen by it."""
    module = timm.create_model(name, num_classes=3)
    assert not has_learnt(module)
    assert has_learnt(trained(name, 160, num_classes=3))


def test_names_of_imagenet() -> None:
    names = timm_names(timm.create_model("test_resnet"))
    assert names is not None and names[0] == "tench, Tinca tinca" and len(names) == 1000
    assert timm_names(timm.create_model("test_resnet", num_classes=5)) is None
    assert timm_names(timm.create_model("test_resnet", num_classes=0)) is None
    assert timm_names(nn.Linear(2, 2)) is None
