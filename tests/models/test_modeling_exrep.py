import copy
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    pipeline,
)

from exrep_hf.models import ExRepConfig, ExRepForImageClassification, FeatureReader, load_classifier

NAMES = {0: "cat", 1: "dog", 2: "cow"}


def classifier(kind: str, images: Tensor) -> PreTrainedModel:
    """An untrained network whose BatchNorm statistics fit, so that its logits differ from image to image."""
    if kind == "resnet":
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], id2label=NAMES)
        model: PreTrainedModel = ResNetForImageClassification(config)
    elif kind == "vit":
        sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = ViTForImageClassification(ViTConfig(image_size=64, intermediate_size=20, id2label=NAMES, **sizes))
    else:
        model = load_classifier(f"timm/{kind}", id2label=NAMES, pretrained=False)
    model.train()
    for _ in range(3):
        model(images)
    return model.eval()


def student(kind: str, distiller: Any, images: Tensor, trained: bool = True) -> ExRepForImageClassification:
    size = 2**11 if distiller == "paper" else 64
    model = ExRepForImageClassification.from_backbone(classifier(kind, images), distiller, image_size=size)
    if trained and model.input_distiller is not None:
        nn.init.normal_(model.input_distiller.to_residual.weight, std=0.2)
    return model


@pytest.mark.parametrize("kind", ["test_efficientnet", "resnet"])
@pytest.mark.parametrize("distiller", ["light", "paper", None])
def test_the_start_is_the_backbone(kind: str, distiller: Any, images: Tensor) -> None:
    """A first step that already differs from the given student would start from a lower accuracy."""
    backbone = classifier(kind, images)
    before = copy.deepcopy(backbone.state_dict())
    model = ExRepForImageClassification.from_backbone(backbone, distiller)
    assert model.classifier is backbone
    assert not model.training
    assert all(torch.equal(before[name], weight) for name, weight in model.classifier.state_dict().items())
    assert torch.equal(model(images).logits, backbone(images).logits)
    assert torch.equal(model.residual(images), torch.zeros_like(images))


@pytest.mark.parametrize("distiller", ["light", "paper"])
def test_zero_start_holds_for_a_model_from_its_config(distiller: Any, images: Tensor) -> None:
    """`post_init` draws all weights again and would make the residual random."""
    config = ExRepConfig(classifier("resnet", images).config, distiller, image_size=2**11)
    model = ExRepForImageClassification(config)
    assert model.input_distiller is not None
    assert torch.equal(images + model.residual(images), images)
    assert model.input_distiller.embed.weight.std() > 0.1


@pytest.mark.parametrize("kind", ["test_efficientnet", "resnet", "vit"])
@pytest.mark.parametrize("distiller", ["light", "paper", None])
def test_saved_and_loaded_logits_are_bit_equal(kind: str, distiller: Any, images: Tensor, tmp_path: Path) -> None:
    """Weights that are initialised again on loading, or lost by a prefix, give other answers without an error."""
    model = student(kind, distiller, images)
    expected = model(images).logits
    assert (distiller is None) == torch.equal(expected, model.classifier(images).logits)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    for auto in (ExRepForImageClassification, AutoModelForImageClassification):
        loaded = auto.from_pretrained(tmp_path)
        assert type(loaded) is ExRepForImageClassification
        assert torch.equal(loaded(images).logits, expected)
        assert loaded.config.id2label == NAMES
    loaded.save_pretrained(tmp_path / "again")
    again = ExRepForImageClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(again(images).logits, expected)


@pytest.mark.parametrize("kind", ["test_efficientnet", "resnet"])
def test_load_in_bfloat16(kind: str, images: Tensor, tmp_path: Path) -> None:
    """One part left in float32 would break the first convolution, or double the memory."""
    model = student(kind, "light", images)
    model.save_pretrained(tmp_path)
    low = ExRepForImageClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    logits = low(images).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(images).logits, rtol=0.2, atol=0.1)


def test_missing_distiller_weights_start_at_zero(images: Tensor, tmp_path: Path) -> None:
    """A checkpoint without a distiller, opened as one with it, must still begin at the classifier's own answers."""
    plain = student("resnet", None, images)
    plain.save_pretrained(tmp_path)
    config = ExRepConfig(plain.classifier.config, "light")
    model = ExRepForImageClassification.from_pretrained(tmp_path, config=config)
    assert torch.equal(model(images).logits, plain(images).logits)
    assert model.input_distiller is not None
    assert model.input_distiller.embed.weight.std() > 0.1
    # transformers leaves weights that it doesn't find as memory happens to be: each kind of layer has to be set.
    for name, parameter in model.input_distiller.named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name


def test_forward_against_its_parts(images: Tensor) -> None:
    """The residual must be added before the classifier, and loss and features belong to those logits."""
    model = student("resnet", "light", images)
    labels = torch.tensor([2, 0])
    output = model(images, labels=labels, output_features=True)
    moved = images + model.residual(images)
    assert torch.equal(output.logits, model.classifier(moved).logits)
    assert torch.equal(output.features, FeatureReader(model.classifier)(model.classifier, moved)[1])
    assert output.features.shape == (2, model.feature_dim)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, labels))
    assert model(images).keys() == {"logits"}
    assert len(model(images, labels=labels, return_dict=False)) == 2


def test_residual_of_chosen_images_alone(images: Tensor) -> None:
    """With the choice turned round, a distiller that is to become removable would be trained to stay."""
    model = student("resnet", "light", images)
    output = model(images, with_residual=torch.tensor([True, False]))
    expected = images.clone()
    expected[0] += model.residual(images)[0]
    torch.testing.assert_close(output.logits, model.classifier(expected).logits)


def test_gradients_reach_both_parts(images: Tensor) -> None:
    """A distiller outside the graph would stay as it is through a whole training."""
    model = student("resnet", "light", images).train()
    model(images, labels=torch.tensor([2, 0])).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.input_distiller.parameters())
    assert all(p.grad is not None for p in model.classifier.parameters())


def test_autocast_in_bfloat16(images: Tensor) -> None:
    """Mixed precision must keep the loss in float32."""
    model = student("test_efficientnet", "light", images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, labels=torch.tensor([2, 0]))
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), model(images).logits, rtol=0.2, atol=0.1)


def test_compiles_without_graph_breaks(images: Tensor) -> None:
    """The features' hook must not break the graph."""
    model = student("resnet", "light", images)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    ours, theirs = compiled(images, output_features=True), model(images, output_features=True)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.features, theirs.features)


@pytest.mark.parametrize("kind", ["test_vit", "vit"])
def test_activation_checkpointing_keeps_the_gradients(kind: str, images: Tensor) -> None:
    """It must reach the classifier's blocks, and must not change what is learned."""
    size = 160 if kind == "test_vit" else 64
    pixels = F.interpolate(images, size=size)
    model = student(kind, "light", pixels).train()
    assert model.supports_gradient_checkpointing
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model._set_gradient_checkpointing(True, partial(checkpoint, use_reentrant=False))
        model.zero_grad()
        model(pixels, labels=torch.tensor([2, 0])).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    switches = {"test_vit": "classifier.timm_model", "vit": "classifier.vit.layers.0"}
    block = model.get_submodule(switches[kind])
    assert getattr(block, "grad_checkpointing" if kind == "test_vit" else "gradient_checkpointing")
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_pipeline_says_the_names(images: Tensor, tmp_path: Path) -> None:
    """A published folder must work for somebody who only knows `pipeline`."""
    model = student("test_efficientnet", "light", images)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    picture = Image.new("RGB", (50, 70), (200, 30, 90))
    answers = pipeline("image-classification", model=str(tmp_path), device="cpu")(picture, top_k=3)
    pixels = ViTImageProcessor(size={"height": 64, "width": 64})(picture, return_tensors="pt")["pixel_values"]
    expected = model(pixels).logits.softmax(1)[0]
    assert {answer["label"] for answer in answers} == set(NAMES.values())
    for answer in answers:
        index = {name: index for index, name in NAMES.items()}[answer["label"]]
        assert answer["score"] == pytest.approx(expected[index].item(), rel=1e-4)


def test_fsdp_block_names_exist(images: Tensor) -> None:
    """FSDP stops at a block name that isn't in the model; timm's wrapper lists one."""
    assert student("test_efficientnet", "light", images)._no_split_modules == set()
    assert "ViTLayer" in (student("vit", "light", images)._no_split_modules or ())


def test_deep_copies_are_independent(images: Tensor) -> None:
    """A copy that writes into its original's features would mix up a student and its average."""
    model = student("resnet", "light", images)
    copied = copy.deepcopy(model)
    nn.init.zeros_(copied.input_distiller.to_residual.weight)  # type: ignore[union-attr]
    ours, theirs = model(images, output_features=True), copied(images, output_features=True)
    assert not torch.equal(ours.features, theirs.features)
    assert torch.equal(theirs.logits, model.classifier(images).logits)
    assert set(model.state_dict()) == {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}


@pytest.mark.parametrize("kind", ["test_efficientnet", "resnet"])
def test_without_distiller_is_independent_and_ordinary(kind: str, images: Tensor) -> None:
    """Further training must not reach a plain classifier that was already taken out."""
    model = student(kind, "light", images)
    model.config.id2label = {0: "x", 1: "y", 2: "z"}
    plain = model.without_distiller()
    assert isinstance(plain, TimmWrapperForImageClassification | ResNetForImageClassification)
    assert plain.config.id2label == {0: "x", 1: "y", 2: "z"}
    expected = model.classifier(images).logits
    assert torch.equal(plain(images).logits, expected)
    assert not any(module._forward_pre_hooks for module in plain.modules())
    for weight in model.parameters():
        nn.init.zeros_(weight)
    assert torch.equal(plain(images).logits, expected)
    assert not any(parameter.sum() for parameter in model.parameters())


LOAD_ELSEWHERE = """
import sys, torch
from transformers import AutoModelForImageClassification
torch.set_num_threads(1)
images = torch.load(sys.argv[1] + "/images.pt")
for kind in ("test_efficientnet", "resnet"):
    folder = f"{sys.argv[1]}/{kind}"
    expected = torch.load(folder + ".pt")
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert torch.equal(model(images).logits, expected), kind
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "cow"}, model.config.id2label
    assert type(model).__module__.startswith("transformers.models."), type(model)
assert not [name for name in sys.modules if name.startswith("exrep_hf")]
"""


def test_plain_folders_load_without_this_package(images: Tensor, tmp_path: Path) -> None:
    """The published student must not need this package, nor say different things in its two libraries."""
    torch.save(images, tmp_path / "images.pt")
    for kind in ("test_efficientnet", "resnet"):
        model = student(kind, "light", images)
        model.save_pretrained(tmp_path / "whole")
        plain = ExRepForImageClassification.from_pretrained(tmp_path / "whole").without_distiller()
        plain.save_pretrained(tmp_path / kind)
        torch.save(model.classifier(images).logits.detach(), tmp_path / f"{kind}.pt")
    subprocess.run([sys.executable, "-c", LOAD_ELSEWHERE, str(tmp_path)], check=True, cwd=tmp_path)
    network = timm.create_model(f"local-dir:{tmp_path / 'test_efficientnet'}", pretrained=True).eval()
    assert torch.equal(network(images), torch.load(tmp_path / "test_efficientnet.pt"))
    cfg: Any = network.pretrained_cfg
    assert cfg["label_names"] == ["cat", "dog", "cow"]
    assert tuple(cfg["mean"]) == timm.get_pretrained_cfg_value("test_efficientnet", "mean")


def test_plain_folder_is_not_read_as_the_weights_it_started_from(images: Tensor) -> None:
    """Google's vision transformers have a reader for their own `.npz` files, which timm would use on ours."""
    model = student("test_efficientnet", "light", images)
    model.classifier.config.pretrained_cfg |= {"custom_load": True, "label_offset": 1, "num_classes": 1001}
    cfg = model.without_distiller().config.pretrained_cfg
    assert cfg["custom_load"] is False
    assert cfg.keys().isdisjoint({"label_offset", "num_classes"})


def test_plain_timm_student_saved_by_a_trainer(images: Tensor, tmp_path: Path) -> None:
    """The Trainer hands over a state dict of its own, with the wrapper's prefix."""
    plain = student("test_efficientnet", "light", images).without_distiller()
    plain.save_pretrained(tmp_path, state_dict=plain.state_dict())
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(network(images), plain(images).logits)
    assert torch.equal(load_classifier(tmp_path)(images).logits, plain(images).logits)


def test_from_backbone_by_name() -> None:
    """Every argument must reach the model that is built."""
    model = ExRepForImageClassification.from_backbone(
        "timm/test_resnet", "light", distiller_channels=8, id2label=NAMES, pretrained=False
    )
    config = model.config
    assert (config.image_size, config.num_channels, config.num_labels, config.distiller_channels) == (160, 3, 3, 8)
    assert model.input_distiller is not None
    assert model.input_distiller.embed.out_channels == 8
    assert model.feature_dim == model.classifier.timm_model.head_hidden_size


def test_a_given_image_size_wins() -> None:
    """The paper's distiller takes its width from it, and the backbone's own size is a default only."""
    model = ExRepForImageClassification.from_backbone("timm/test_resnet", "light", image_size=96, pretrained=False)
    assert model.config.image_size == 96


def test_image_size_where_the_backbone_names_none(images: Tensor) -> None:
    """ResNet's configuration has no size; 224 is what nearly all of them were trained on."""
    model = ExRepForImageClassification.from_backbone(classifier("resnet", images))
    assert model.config.image_size == 224


def test_backbones_that_are_none(images: Tensor) -> None:
    """What is no image classifier has no configuration to save; a second distiller on top of one was never meant."""
    with pytest.raises(ValueError, match="`backbone` is a Linear; expected a name, or an image classifier"):
        ExRepForImageClassification.from_backbone(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="ExRepForImageClassification already.*without_distiller"):
        ExRepForImageClassification.from_backbone(student("resnet", "light", images))


def test_exrep_as_a_teacher(images: Tensor) -> None:
    """Its last layer is the classifier's, also where the distiller has as many output channels as classes."""
    backbone = load_classifier("timm/test_resnet", num_labels=48, pretrained=False)
    model = ExRepForImageClassification.from_backbone(backbone, "light")
    reader = FeatureReader(model)
    assert reader.layer_name == "classifier.timm_model.fc"
    logits, features = reader(model, images)
    assert torch.equal(features, model(images, output_features=True).features)
    assert torch.equal(logits, model(images).logits)


def test_pixels_that_are_not_normalised(images: Tensor) -> None:
    """A loader's batch holds them, and any network answers to values from 0 to 255."""
    with pytest.raises(ValueError, match=r"of torch.uint8; expected normalised images, floating"):
        student("resnet", "light", images)(images.byte())
