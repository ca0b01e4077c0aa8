import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
)

from exrep_hf.models import FeatureReader, feature_definition, load_classifier
from tests.models.feature_checks import build, check_evaluation, check_training

NAMES = {index: f"class {index}" for index in range(5)}


def timm_model(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=5)


def settled(model: nn.Module, images: Tensor) -> nn.Module:
    # Fresh BatchNorm statistics make the logits of `eval()` so small that comparing them proves nothing.
    model.train()
    for _ in range(3):
        model(images)
    return model.eval()


TIMM = [
    "test_efficientnet",
    "test_resnet",
    "test_convnext",
    "test_nfnet",
    "test_mambaout",
    "lcnet_035",
    "xcit_nano_12_p16_224",
]


@pytest.mark.parametrize("name", TIMM)
def test_timm_features_are_those_of_timm(name: str, images: Tensor) -> None:
    """Features from the wrong layer have a plausible shape and teach nothing."""
    model = settled(timm_model(name), images)
    reader = FeatureReader(model)
    logits, features = reader(model, images)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    assert features.shape == (2, reader.feature_dim)
    assert reader.num_labels == 5
    assert torch.equal(logits, model(images))
    torch.testing.assert_close(features, expected.flatten(1), rtol=1e-5, atol=1e-5)


def hf_model(name: str) -> PreTrainedModel:
    if name == "resnet":
        return ResNetForImageClassification(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], id2label=NAMES)
        )
    if name == "vit":
        vit = ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=20,
            image_size=64,
            id2label=NAMES,
        )
        return ViTForImageClassification(vit)
    return ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 10], depths=[1, 1], num_stages=2, id2label=NAMES)
    )


@pytest.mark.parametrize(("name", "feature_dim"), [("resnet", 12), ("vit", 16), ("convnext", 10)])
def test_hugging_face_features_make_the_logits(name: str, feature_dim: int, images: Tensor) -> None:
    """Whatever is read must be what the classifier multiplies, in the same forward."""
    model = settled(hf_model(name), images)
    reader = FeatureReader(model)
    logits, features = reader(model, images)
    assert features.shape == (2, feature_dim) == (2, reader.feature_dim)
    assert torch.equal(logits, model(images).logits)
    layer = model.get_submodule(reader.layer_name)
    torch.testing.assert_close(layer(features), logits)


def test_timm_wrapper_and_bare_timm_agree(images: Tensor) -> None:
    """The same network must give the same features as a student (wrapped) and as a teacher (bare)."""
    wrapped = load_classifier("timm/test_efficientnet", id2label=NAMES, pretrained=False)
    settled(wrapped, images)
    bare = copy.deepcopy(wrapped.get_submodule("timm_model"))
    for ours, theirs in zip(FeatureReader(wrapped)(wrapped, images), FeatureReader(bare)(bare, images), strict=True):
        assert torch.equal(ours, theirs)


OPTIONS: dict[str, dict[str, Any]] = {
    "test_vit": {"img_size": 64},
    "test_efficientnet": {},
    "test_resnet": {},
    "mobilenetv3_small_050": {},
    "hgnetv2_b0": {},
    "deit_tiny_distilled_patch16_224": {"img_size": 64, "depth": 1},
    "pit_ti_distilled_224": {"img_size": 64},
    "crossvit_tiny_240": {"depth": [[1, 1, 0]]},
    "levit_128s": {"img_size": 64},
    "levit_conv_128s": {"img_size": 64},
    "efficientformerv2_s0": {"img_size": 64},
    "efficientvit_m0": {"img_size": 64},
    "efficientvim_m1_dist": {},
    "repvit_m1": {},
    "shvit_s1": {},
    "test_byobnet": {"head_type": "attn_abs", "img_size": 64},
}
# Of the others features are the input of one final layer.
POOLED_BY_THEMSELVES = {*OPTIONS} - {
    *("test_vit", "test_efficientnet", "test_resnet", "mobilenetv3_small_050", "hgnetv2_b0", "efficientformerv2_s0")
}


def size_of(name: str) -> int:
    return 240 if name.startswith("crossvit") else 64


@pytest.mark.parametrize("name", [*OPTIONS])
def test_features_are_what_the_model_itself_pools(name: str) -> None:
    """Of two heads, of branches, and of heads with a normalisation of their own, a plausible part was taken."""
    images = torch.randn(2, 3, size_of(name), size_of(name))
    model = build(name, **OPTIONS[name])
    check_evaluation(model, images)
    check_training(name, images, **OPTIONS[name])
    assert (feature_definition(model) is not None) == (name in POOLED_BY_THEMSELVES)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "repvit_m1", "levit_128s"])
def test_what_is_trained_is_what_is_evaluated(name: str, images: Tensor) -> None:
    """A model told to give both heads' logits in training has to be trained on their mean, which it is judged by."""
    model = build(name, **OPTIONS[name]).train()
    model.set_distilled_training(True)  # type: ignore[operator]
    reader = FeatureReader(model)
    with torch.no_grad():
        logits, features = reader(model, images)
        pairs = model(images)
    assert isinstance(pairs, tuple)
    assert torch.equal(logits, (pairs[0] + pairs[1]) / 2)
    assert features.shape == (2, reader.feature_dim)


def test_convolutional_head_is_pooled(images: Tensor) -> None:
    """A 1x1 convolution over a feature map must give one vector an image, the mean over space."""
    model = timm.create_model("test_byobnet", num_classes=5)

    class Convolutional(nn.Module):
        num_classes = 5

        def __init__(self) -> None:
            super().__init__()
            self.body = model
            self.head = nn.Conv2d(FeatureReader(model).feature_dim, 5, 1)

        def get_classifier(self) -> nn.Module:
            return self.head

        def forward(self, pixel_values: Tensor) -> Tensor:
            return self.head(self.body.forward_features(pixel_values)).mean((2, 3))  # type: ignore[operator]

    network = settled(Convolutional(), images)
    reader = FeatureReader(network)
    logits, features = reader(network, images)
    assert features.shape == (2, reader.feature_dim) == (2, model.num_features)
    torch.testing.assert_close(network.get_submodule("head")(features[:, :, None, None]).flatten(1), logits)


def test_nothing_stays_behind(images: Tensor) -> None:
    """A tensor kept on the model would hold the whole graph in memory and break deep copies and state dicts."""
    model = timm_model("test_resnet")
    keys = set(model.state_dict())
    reader = FeatureReader(model)
    reader(model, images)
    model(images)
    layer = model.get_submodule(reader.layer_name)
    assert not [value for value in vars(layer).values() if isinstance(value, Tensor | list)]
    assert set(model.state_dict()) == keys
    copied = copy.deepcopy(model).eval()
    nn.init.zeros_(copied.get_submodule(reader.layer_name).weight)  # type: ignore[arg-type]
    original, other = reader(model.eval(), images), reader(copied, images)
    assert torch.equal(original[1], other[1])
    assert not torch.equal(original[0], other[0])


def test_two_readers_and_detaching(images: Tensor) -> None:
    """Teacher and student code may both ask for a reader; a plain model must lose every trace of them."""
    model = timm_model("test_resnet").eval()
    before = dict(vars(model.get_submodule("fc")))
    first, second = FeatureReader(model), FeatureReader(model)
    assert torch.equal(first(model, images)[1], second(model, images)[1])
    first.detach_from(model)
    layer = model.get_submodule("fc")
    assert not layer._forward_pre_hooks
    assert vars(layer).keys() == before.keys()


def test_gradients_reach_the_network_through_the_features(images: Tensor) -> None:
    """Detached features would make every feature loss a constant."""
    model = timm_model("test_resnet")
    FeatureReader(model)(model, images)[1].square().sum().backward()
    first, last = model.get_parameter("conv1.0.weight").grad, model.get_parameter("fc.weight").grad
    assert first is not None
    assert first.abs().sum() > 0
    assert last is None


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "deit_tiny_distilled_patch16_224"])
def test_compiles_without_graph_breaks(name: str, images: Tensor) -> None:
    """A graph break in the student's forward would cost most of what compiling gains."""
    torch._dynamo.reset()
    model = build(name, drop_rate=0.5, **OPTIONS[name]).train()
    reader = FeatureReader(model)
    compiled = torch.compile(lambda pixels: reader(model, pixels), backend="eager", fullgraph=True)
    for _ in range(2):
        torch.manual_seed(0)
        ours = compiled(images)
        torch.manual_seed(0)
        for mine, theirs in zip(ours, reader(model, images), strict=True):
            assert torch.equal(mine, theirs)
    assert getattr(model, "drop_rate", 0.5) == 0.5


def test_headless_models_are_refused() -> None:
    """A network without a classifier has no logits to distil; its pooled features must not pass for them."""
    with pytest.raises(ValueError, match="no final classification layer.*num_classes="):
        FeatureReader(timm.create_model("test_resnet", num_classes=0))
    with pytest.raises(ValueError, match="ResNetModel has no final classification layer"):
        FeatureReader(ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], id2label=NAMES)))
    with pytest.raises(ValueError, match="Sequential is neither a timm model nor a Hugging Face classifier"):
        FeatureReader(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def test_classifier_that_is_not_called(images: Tensor) -> None:
    """Features of an earlier forward must never be handed out for this one."""
    model = timm_model("test_resnet").eval()
    reader = FeatureReader(model)
    model.get_submodule("fc").forward = lambda features: features
    model.forward = lambda pixels: torch.zeros(2, 5)
    with pytest.raises(ValueError, match="did not call its layer `fc`"):
        reader(model, images)
