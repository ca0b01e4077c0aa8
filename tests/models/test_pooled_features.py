"""Features of networks without a classifier, against what their own libraries give."""

from typing import Any

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn

from exrep_hf.models import FeatureReader, PooledReader, has_classifier, vision_tower
from exrep_hf.teacher import OnlineTeacher
from tests.families import (
    CLASSIFIERS,
    POOLING,
    SIZE,
    TIMM,
    TOKENS,
    TOWERS,
    naflex,
    of_timm,
    of_transformers,
    size_of,
    two_towers,
)

# Tokens of each that are no patches, counted by hand: class, register and distillation tokens.
BEFORE_PATCHES = {
    "Dinov2Model": 1,
    "Dinov2WithRegistersModel": 4,
    "DINOv3ViTModel": 5,
    # What is pooled stands before the positions.
    "DINOv3ConvNextModel": 1,
    "CLIPVisionModel": 1,
    "ViTModel": 1,
    "BeitModel": 1,
    "ViTMSNModel": 1,
    "SiglipVisionModel": 0,
    "Aimv2VisionModel": 0,
    "IJepaModel": 0,
    "SwinModel": 0,
    "test_vit": 1,
    "vit_tiny_patch16_224": 1,
    "vit_small_patch14_reg4_dinov2": 5,
    "vit_base_patch16_siglip_224": 0,
    "eva02_tiny_patch14_224": 1,
}
PATCHES = {"DINOv3ConvNextModel": 1, "SwinModel": 16, "test_vit": 4, "vit_tiny_patch16_224": 4}
PATCHES |= {"vit_small_patch14_reg4_dinov2": 4, "vit_base_patch16_siglip_224": 4, "eva02_tiny_patch14_224": 4}


def images(size: int = SIZE) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def read(model: nn.Module, features: Any, pixels: Tensor) -> tuple[Tensor | None, Tensor]:
    reader = PooledReader(model, features, pixels[0])
    with torch.no_grad():
        logits, pooled = reader(model, pixels)
    assert pooled.shape == (len(pixels), reader.feature_dim)
    return logits, pooled


def expected_mean(name: str, hidden: Tensor, channels_last: bool = False) -> Tensor:
    if hidden.ndim == 4:
        return hidden.mean((1, 2) if channels_last else (2, 3))
    before = BEFORE_PATCHES[name]
    assert hidden.shape[1] - before == PATCHES.get(name, 16)
    return hidden[:, before:].mean(1)


@pytest.mark.parametrize("name", [*POOLING, *TOKENS])
def test_backbones_of_transformers(name: str) -> None:
    """Own features are `pooler_output`, flat; tokens are those of `last_hidden_state`."""
    model = (POOLING | TOKENS)[name]()
    pixels = images(64) if name == "PoolFormerModel" else images()
    with torch.no_grad():
        output = model(pixels)
    assert not has_classifier(model)
    logits, mean = read(model, "mean", pixels)
    assert logits is None
    torch.testing.assert_close(mean, expected_mean(name, output.last_hidden_state))
    if name in POOLING:
        own = read(model, "own", pixels)[1]
        assert torch.equal(own, output.pooler_output.flatten(1))
        assert own.std(0).mean() > 1e-4, "features that say the same of every image compare nothing"
    else:
        with pytest.raises(ValueError, match=rf"`features` is 'own', and {name} has no pooler .*Take .*'mean'"):
            read(model, "own", pixels)
    if BEFORE_PATCHES.get(name):
        assert torch.equal(read(model, "cls", pixels)[1], output.last_hidden_state[:, 0])
    else:
        with pytest.raises(ValueError, match=rf"`features` is 'cls', and {name} has no class token\. Take .*'mean'"):
            read(model, "cls", pixels)


@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str, num_classes: int) -> None:
    """With and without a classifier, and by transformers' wrapper."""
    model, pixels = of_timm(name, num_classes), images(size_of(name))
    with torch.no_grad():
        hidden = model.forward_features(pixels)
        expected = {"own": model.forward_head(hidden, pre_logits=True), "mean": expected_mean(name, hidden)}
        if BEFORE_PATCHES.get(name):
            expected["cls"] = hidden[:, 0]
        answer = model(pixels)
    assert has_classifier(model) == bool(num_classes)
    for features, value in expected.items():
        logits, pooled = read(model, features, pixels)
        torch.testing.assert_close(pooled, value)
        assert (logits is None) if not num_classes else torch.equal(logits, answer)  # type: ignore[arg-type]
    if "cls" not in expected:
        with pytest.raises(ValueError, match=r"has no class token\. Take features='own' or features='mean'\.$"):
            read(model, "cls", pixels)


def test_wrapped_by_transformers() -> None:
    """`TimmWrapperModel` is a backbone, whatever its configuration says of classes."""
    settings: dict[str, Any] = {"architecture": "test_vit", "model_args": {"img_size": SIZE}, "num_labels": 7}
    config = transformers.TimmWrapperConfig(**settings)
    model: Any = transformers.TimmWrapperModel(config).eval()
    teacher = OnlineTeacher(model, transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE}))
    pixels = images()
    answer = teacher({"pixel_values": pixels})
    assert (teacher.num_labels, teacher.id2label, answer.logits) == (None, None, None)
    with torch.no_grad():
        assert torch.equal(answer["features"], model(pixels).pooler_output)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_transformers(name: str) -> None:
    """Logits stay the model's own; tokens are those of the network below the head, of the same forward."""
    model, pixels = CLASSIFIERS[name](), images()
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        hidden, logits = model.base_model(pixels).last_hidden_state, model(pixels).logits
    calls.clear()
    found, pooled = read(model, "mean", pixels)
    assert len(calls) == 2, "one of the constructor's, one of the answer's"
    handle.remove()
    assert torch.equal(found, logits)  # type: ignore[arg-type]
    below = name.removesuffix("ForImageClassification") + "Model"
    torch.testing.assert_close(pooled, expected_mean(below, hidden))
    if BEFORE_PATCHES.get(below):
        assert torch.equal(read(model, "cls", pixels)[1], hidden[:, 0])
    assert not model.base_model._forward_hooks


def test_own_features_of_a_classifier_stay_those_of_its_reader() -> None:
    """Fingerprints and stored answers of classifiers go by them."""
    for model in (of_transformers("Dinov2ForImageClassification"), of_timm("test_convnext", 5)):
        pixels = images()
        processor = transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE})
        answer = OnlineTeacher(model, processor)({"pixel_values": pixels})
        with torch.no_grad():
            logits, features = FeatureReader(model)(model, pixels)
        assert torch.equal(answer["logits"], logits) and torch.equal(answer["features"], features)


@pytest.mark.parametrize("family", TOWERS)
def test_two_towers_give_the_one_of_images(family: str) -> None:
    """The text is never shown."""
    model, pixels = two_towers(family), images()
    with torch.no_grad():
        expected = model.vision_model(pixels).pooler_output
    assert vision_tower(model) is model.vision_model
    teacher = OnlineTeacher(model)
    answer = teacher({"pixel_values": pixels})
    torch.testing.assert_close(answer["features"], expected)
    assert answer.logits is None
    assert list(teacher.networks()) == [model.vision_model]


def test_maps_with_channels_last() -> None:
    """Timm's Swin hands out `(batch, height, width, channels)`: the mean over the wrong axes has another width."""
    options: dict[str, Any] = {"window_size": 7, "depths": (1,), "num_heads": (2,), "embed_dim": 7}
    model: Any = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=28, **options).eval()
    pixels = images(28)
    with torch.no_grad():
        hidden = model.forward_features(pixels)
    # As high as it has channels.
    assert hidden.shape == (3, 7, 7, 7)
    torch.testing.assert_close(read(model, "mean", pixels)[1], hidden.mean((1, 2)))


@pytest.mark.parametrize(
    ("name", "features", "there"),
    [("crossvit_tiny_240", "mean", "features='own'"), ("pit_ti_224", "mean", "features='own' or features='cls'")],
)
def test_tokens_that_are_not_handed_out(name: str, features: Any, there: str) -> None:
    """A mean of nothing would be NaN."""
    model = timm.create_model(name, num_classes=0)
    with pytest.raises(ValueError, match=rf"hands out no tokens of patches\. Take {there}\.$"):
        OnlineTeacher(model, features=features)


def test_networks_that_take_no_images() -> None:
    """They would fail in somebody else's code when the first batch is there."""
    with pytest.raises(ValueError, match=r"Siglip2VisionModel takes patches \(`spatial_shapes`\); .*'google/siglip2-"):
        OnlineTeacher(naflex())
    small: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    with pytest.raises(ValueError, match="BertModel takes `input_ids`; expected a network of images"):
        OnlineTeacher(transformers.BertModel(transformers.BertConfig(**small)))
    masked = transformers.ViTMAEModel(transformers.ViTMAEConfig(**small, image_size=SIZE, patch_size=8))
    with pytest.raises(ValueError, match=r"leaves out a random part of each image \(`mask_ratio` 0.75\).* = 0`"):
        OnlineTeacher(masked, features="cls")


def test_other_images_than_the_network_takes() -> None:
    """The size is known when the teacher is made, and not after an hour."""
    with pytest.raises(ValueError, match=r"Dinov2.* can't answer an image of .* \(1, 16, 16\).*Pass its image proc"):
        PooledReader(of_transformers("Dinov2Model"), "own", torch.zeros(1, 16, 16))
    with pytest.raises(ValueError, match="`features` is 'patches'; expected one of own, cls, mean"):
        OnlineTeacher(of_transformers("Dinov2Model"), features="patches")  # type: ignore[arg-type]


def test_the_network_stays_as_it_is() -> None:
    """Making a reader is a look: neither modes nor statistics may move."""
    model = of_transformers("ResNetModel").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    PooledReader(model, "own", images()[0])
    assert model.training and model.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
