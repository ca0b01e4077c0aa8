"""Families of transformers whose configuration alone does not say which classifier it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForImageClassification

from exrep_hf.models import ExRepForImageClassification, FeatureReader, feature_definition, load_classifier
from exrep_hf.teacher import OnlineTeacher


@pytest.mark.parametrize("family", ["DeiTForImageClassification", "DeiTForImageClassificationWithTeacher", "Pvt"])
def test_families_that_share_or_hide_a_configuration(family: str, tmp_path: Path) -> None:
    """Several classes for one configuration, or labels that are only counted, must not end in another network."""
    classifier: Any
    if family == "Pvt":
        classifier = transformers.PvtForImageClassification(transformers.PvtConfig(image_size=32, num_labels=5))
    else:
        config = transformers.DeiTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
        config.num_labels = 5
        classifier = getattr(transformers, family)(config)
    student = ExRepForImageClassification.from_backbone(classifier).eval()
    student.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    pixels = torch.randn(2, 3, 32, 32)
    assert type(loaded.classifier) is type(classifier)
    assert loaded.config.num_labels == 5
    assert torch.equal(loaded(pixels).logits, student(pixels).logits)


@pytest.mark.parametrize(
    ("family", "feature_dim"),
    [
        ("DeiTForImageClassificationWithTeacher", 16),
        ("LevitForImageClassification", 24),
        ("LevitForImageClassificationWithTeacher", 24),
        ("SwiftFormerForImageClassification", 12),
    ],
)
def test_two_heads_of_transformers_are_read_as_timm_does(family: str, feature_dim: int) -> None:
    """Of two heads the last alone was read, and of LeViT's what its own BatchNorm makes of the features."""
    model = two_headed(family).eval()
    reader = FeatureReader(model)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits, features = reader(model, pixels)
        assert torch.equal(logits, model(pixels).logits)
        if family.startswith("DeiT"):
            expected = model.deit(pixels).last_hidden_state[:, :2].mean(1)
        elif family.startswith("Levit"):
            expected = model.levit(pixels).last_hidden_state.mean(1)
        else:
            expected = model.norm(model.swiftformer(pixels).last_hidden_state).flatten(2).mean(-1)
    assert features.shape == (2, feature_dim) == (2, reader.feature_dim)
    torch.testing.assert_close(features, expected)
    # SwiftFormer's heads share what either alone was read from.
    assert (feature_definition(model) is None) == family.startswith("SwiftFormer")


def two_headed(family: str) -> Any:
    """A small classifier whose BatchNorm statistics are not the neutral ones."""
    torch.manual_seed(0)
    if family.startswith("DeiT"):
        config: Any = transformers.DeiTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    elif family.startswith("Levit"):
        config = transformers.LevitConfig(
            image_size=32, hidden_sizes=[8, 16, 24], num_attention_heads=[1, 1, 1], depths=[1, 1, 1], key_dim=[4, 4, 4]
        )
    else:
        config = transformers.SwiftFormerConfig(image_size=32, depths=[1, 1, 1, 1], embed_dims=[4, 8, 8, 12])
    config.num_labels = 5
    model = getattr(transformers, family)(config)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model


def test_both_heads_are_replaced(tmp_path: Path) -> None:
    """A second head of the old number of classes would fail in the first forward."""
    two_headed("DeiTForImageClassificationWithTeacher").save_pretrained(tmp_path)
    model = load_classifier(tmp_path, num_labels=3, new_head=True)
    assert model(torch.randn(2, 3, 32, 32)).logits.shape == (2, 3)


def test_dropout_of_transformers_comes_after_the_features() -> None:
    """Features thinned at random, or written over by an inplace dropout, are none to learn from."""
    config = transformers.MobileNetV1Config(image_size=32, depth_multiplier=0.25, classifier_dropout_prob=0.5)
    config.num_labels = 5
    model = transformers.MobileNetV1ForImageClassification(config).train()
    reader = FeatureReader(model)
    pixels = torch.randn(4, 3, 32, 32)
    logits, features = reader(model, pixels)
    model.dropout.p = 0.0
    assert torch.equal(features, reader(model, pixels)[1])
    assert not torch.equal(logits, reader(model, pixels)[0])


@pytest.mark.parametrize(
    ("family", "config", "takes"),
    [
        ("ImageGPT", transformers.ImageGPTConfig(n_embd=8, n_head=1, n_layer=1, vocab_size=9), "tokens .`input_ids`."),
        (
            "Siglip2",
            transformers.Siglip2Config(
                vision_config={
                    "hidden_size": 8,
                    "intermediate_size": 8,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 1,
                }
            ),
            "patches .`spatial_shapes`.",
        ),
    ],
    ids=["imagegpt", "siglip2"],
)
def test_classifiers_of_something_else_are_refused(family: str, config: Any, takes: str) -> None:
    """They would fail in somebody else's code when the first batch is there."""
    config.num_labels = 5
    model = getattr(transformers, f"{family}ForImageClassification")(config)
    with pytest.raises(ValueError, match=f"{family}ForImageClassification takes {takes}; expected a classifier of im"):
        ExRepForImageClassification.from_backbone(model)
    with pytest.raises(ValueError, match=f"{family}ForImageClassification takes {takes}; expected a classifier of im"):
        OnlineTeacher(model)


def test_an_output_without_logits_is_refused() -> None:
    """PP-LCNet's classifier calls its probabilities a hidden state: no logits to distil."""
    config = transformers.PPLCNetConfig()
    config.num_labels = 5
    model = transformers.PPLCNetForImageClassification(config).eval()
    with pytest.raises(ValueError, match="gave a BaseModelOutputWithNoAttention without `logits`"):
        FeatureReader(model)(model, torch.randn(1, 3, 64, 64))
