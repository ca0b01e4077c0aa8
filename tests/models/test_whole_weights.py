"""Weights that are missing, too many, or of another network."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    LlamaConfig,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
    ViTModel,
)

from exrep_hf import OnlineTeacher
from exrep_hf.models import ExRepForImageClassification, load_classifier, load_whole

VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "image_size": 32,
    "patch_size": 8,
}
Weights = dict[str, Tensor]


def resnet() -> ResNetForImageClassification:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], id2label={0: "a", 1: "b", 2: "c"})
    model = ResNetForImageClassification(config).train()
    for _ in range(3):
        model(torch.randn(4, 3, 32, 32))
    return model.eval()


def change(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(edit(weights), folder / "model.safetensors", metadata={"format": "pt"})


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if part not in name}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


_NO_HEAD = r"no weights for classifier\.1\.bias, classifier\.1\.weight; expected exactly"
FAULTS: list[tuple[Callable[[Weights], Weights], str]] = [
    (without("classifier"), _NO_HEAD),
    (without("running_mean"), r"no weights for .*normalization\.running_mean; expected"),
    (without("running_var"), r"no weights for .*normalization\.running_var"),
    (without("embedder.convolution"), r"no weights for resnet\.embedder\.embedder\.convolution\.weight;"),
    (
        renamed("classifier", "head"),
        r"no weights for classifier.*; and weights that the model doesn't have: head\.1\.b",
    ),
    (lambda w: w | {"aux.weight": torch.zeros(2)}, r"weights that the model doesn't have: aux\.weight; expected"),
    (
        lambda w: w | {"classifier.1.weight": torch.zeros(7, 8), "classifier.1.bias": torch.zeros(7)},
        r"another shape: classifier\.1\.bias \(7,\) instead of \(3,\), classifier\.1\.weight \(7, 8\) instead of \(3",
    ),
]


@pytest.mark.parametrize(("edit", "message"), FAULTS, ids=range(len(FAULTS)))
def test_checkpoints_that_are_not_the_models(edit: Callable[[Weights], Weights], message: str, tmp_path: Path) -> None:
    """Transformers draws what is missing at random, differently each time, and only logs it."""
    resnet().save_pretrained(tmp_path)
    change(tmp_path, edit)
    for load in (load_classifier, lambda folder: load_whole(str(folder)), OnlineTeacher.from_pretrained):
        if load == OnlineTeacher.from_pretrained and message == _NO_HEAD:
            # What is there is a network by itself.
            assert load(tmp_path).num_labels is None
            continue
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path)
        assert str(tmp_path) in str(caught.value)
    with pytest.raises(ValueError, match=message):
        ExRepForImageClassification.from_backbone(tmp_path)


@pytest.mark.parametrize("loader", [ExRepForImageClassification.from_pretrained, lambda path: load_whole(str(path))])
def test_students_with_a_distiller(loader: Callable[[Path], Any], tmp_path: Path) -> None:
    """A distiller that is half there is not the one that was trained."""
    student = ExRepForImageClassification.from_backbone(resnet(), "light")
    torch.nn.init.normal_(student.input_distiller.to_residual.weight)  # type: ignore[union-attr]
    student.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(loader(tmp_path)(pixels).logits, student(pixels).logits)
    for edit, message in (
        (without("input_distiller.embed"), r"no weights for input_distiller\.embed\.bias, .*\.weight; expected"),
        (without("running_mean"), r"no weights for classifier\.resnet\..*running_mean"),
        (lambda w: w | {"other.weight": torch.zeros(2)}, r"doesn't have: other\.weight"),
    ):
        student.save_pretrained(tmp_path)
        change(tmp_path, edit)
        with pytest.raises(ValueError, match=message):
            loader(tmp_path)


def test_a_published_distiller_that_is_lost(tmp_path: Path) -> None:
    """Figures of a student without its distiller are not the published one's; a new one is for who asks for it."""
    ExRepForImageClassification.from_backbone(resnet(), "light").save_pretrained(tmp_path)
    change(tmp_path, without("input_distiller"))
    with pytest.raises(ValueError, match=r"no weights for input_distiller\.blocks.* and \d+ more; expected"):
        load_whole(str(tmp_path))
    loaded = ExRepForImageClassification.from_pretrained(tmp_path)
    assert not loaded.residual(torch.ones(1, 3, 32, 32)).any()
    _, report = ExRepForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert len(report["missing_keys"]) > 4


def test_counters_and_indices_may_be_missing(tmp_path: Path) -> None:
    """Older files have no counters; no answer depends on them."""
    model = resnet()
    model.save_pretrained(tmp_path)
    change(tmp_path, without("num_batches_tracked"))
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_classifier(tmp_path)(pixels).logits, model(pixels).logits)


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        (ViTForImageClassification(ViTConfig(**VIT)), ViTModel(ViTConfig(**VIT), add_pooling_layer=True)),
        (ViTForImageClassification(ViTConfig(**VIT)), ViTModel(ViTConfig(**VIT), use_mask_token=True)),
    ],
    ids=["pooler", "mask_token"],
)
def test_parts_of_a_pre_training_that_no_answer_depends_on(model: Any, extra: Any, tmp_path: Path) -> None:
    """Checkpoints that were trained further often hold them still."""
    model.eval().save_pretrained(tmp_path)
    others = {f"vit.{name}": value for name, value in extra.state_dict().items()}
    added = [name for name in others if name not in model.state_dict()]
    assert added
    change(tmp_path, lambda weights: {name: others[name].contiguous() for name in added} | weights)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_classifier(tmp_path)(pixels).logits, model(pixels).logits)


def test_buffers_that_timm_makes_by_itself(tmp_path: Path) -> None:
    """Of Swin's published weights some hold attention masks, which timm does not save any more."""
    network = timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=3,
        img_size=28,
        window_size=7,
        depths=(2,),
        num_heads=(2,),
        embed_dim=8,
    ).eval()
    kwargs = {"img_size": 28, "window_size": 7, "depths": (2,), "num_heads": (2,), "embed_dim": 8}
    save_for_hf(network, str(tmp_path), model_args=kwargs, safe_serialization=True)
    own = {name: value for name, value in network.named_buffers() if name.endswith("relative_position_index")}
    assert own and not own.keys() & network.state_dict().keys()
    change(tmp_path, lambda weights: weights | {name: value.clone() for name, value in own.items()})
    pixels = torch.randn(1, 3, 28, 28)
    assert torch.equal(load_classifier(tmp_path)(pixels).logits, network(pixels))


def test_another_class_of_the_same_family(tmp_path: Path) -> None:
    """Two heads are not one of them, and pre-training's decoder is no classifier."""
    config = DeiTConfig(**VIT, id2label={0: "a", 1: "b", 2: "c"})
    DeiTForImageClassificationWithTeacher(config).save_pretrained(tmp_path / "two")
    assert isinstance(load_classifier(tmp_path / "two"), DeiTForImageClassificationWithTeacher)
    other = copy.deepcopy(config)
    other.architectures = ["DeiTForImageClassification"]
    other.save_pretrained(tmp_path / "two")
    with pytest.raises(ValueError, match=r"no weights for classifier\.bias.*doesn't have: cls_classifier\.bias, "):
        load_classifier(tmp_path / "two")
    DeiTForImageClassification(config).save_pretrained(tmp_path / "one")
    change(tmp_path / "one", lambda w: w | {"distillation_classifier.weight": torch.zeros(3, 16)})
    with pytest.raises(ValueError, match=r"doesn't have: distillation_classifier\.weight; expected exactly the w"):
        load_classifier(tmp_path / "one")
    ViTForMaskedImageModeling(ViTConfig(**VIT)).save_pretrained(tmp_path / "mim")
    with pytest.raises(ValueError, match=r"no weights for classifier\.bias, classifier\.weight; and .*: decoder"):
        load_classifier(tmp_path / "mim")


def test_a_deeper_network_than_its_configuration_says(tmp_path: Path) -> None:
    """Its first layers would answer, as if they were all of it."""
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[2], num_heads=[2], window_size=4)
    SwinForImageClassification(config).save_pretrained(tmp_path)
    config.depths = [1]
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"doesn't have: swin\.encoder\.layers\.0\.blocks\.1\..* and \d+ more"):
        load_classifier(tmp_path)


def test_models_that_classify_no_images(tmp_path: Path) -> None:
    """Of a language model transformers names each class of its own that it is not."""
    LlamaConfig().save_pretrained(tmp_path)
    for pretrained in (True, False):
        with pytest.raises(
            ValueError, match="a model of the type 'llama', of which transformers knows no image class"
        ):
            load_classifier(tmp_path, pretrained=pretrained)


def test_a_network_without_a_classifier(tmp_path: Path) -> None:
    """Feature extractors of timm have 0 classes, and transformers' answer names none of our settings."""
    save_for_hf(timm.create_model("test_vit", num_classes=0), str(tmp_path), safe_serialization=True)
    for options in ({}, {"pretrained": False}):
        with pytest.raises(ValueError, match=r"has no head: it is a network without a .*num_labels=…"):
            load_classifier(tmp_path, **options)  # type: ignore[arg-type]
    assert load_classifier(tmp_path, num_labels=3, pretrained=False).config.num_labels == 3


def test_truncated_weights(tmp_path: Path) -> None:
    """A copy that was cut off is the commonest damage; nothing of it may be taken for weights."""
    resnet().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-10], whole[:50], b"", b"\xff" * 8 + whole[8:], (10**9).to_bytes(8, "little") + whole[8:]):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=r"Weights of an image classifier could not be loaded from .* \(\w+: "):
            load_classifier(tmp_path)


def test_names_as_paths(tmp_path: Path) -> None:
    """A path is what most programs hold."""
    resnet().save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 32, 32)
    answers = [
        load_classifier(tmp_path)(pixels).logits,
        ExRepForImageClassification.from_backbone(tmp_path)(pixels).logits,
        ExRepForImageClassification.from_backbone(str(tmp_path))(pixels).logits,
        OnlineTeacher.from_pretrained(tmp_path)({"pixel_values": pixels}).logits,
    ]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert not ExRepForImageClassification.from_backbone(tmp_path).starts_from_nothing
