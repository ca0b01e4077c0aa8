"""Answers of a network that is asked at every step."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetForImageClassification

from exrep_hf.data import Preprocessing
from exrep_hf.teacher import OnlineTeacher
from exrep_hf.teacher.identity import network_fingerprint


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 16, 16)


def test_answers_of_a_transformers_model(network: ResNetForImageClassification, images: Tensor) -> None:
    """Logits and features of one forward in evaluation mode, whatever mode the model came in."""
    teacher = OnlineTeacher(network)
    answer: Any = teacher({"pixel_values": images})
    with torch.no_grad():
        expected = network.eval()(images).logits
        pooled = network.resnet(images).pooler_output.flatten(1)
    assert torch.equal(answer.logits, expected)
    torch.testing.assert_close(answer.features, pooled)
    assert (teacher.num_labels, teacher.feature_dim) == (3, 6)
    assert teacher.id2label == {0: "a", 1: "b", 2: "c"}
    assert not answer.logits.requires_grad and not answer.features.requires_grad


def test_features_of_a_timm_model_are_those_before_dropout(images: Tensor) -> None:
    """Features after dropout are half zeros, and other ones at each step."""
    model: Any = timm.create_model("test_efficientnet", num_classes=5, drop_rate=0.9).train()
    teacher = OnlineTeacher(model)
    answer: Any = teacher({"pixel_values": images})
    again: Any = teacher({"pixel_values": images})
    with torch.no_grad():
        pooled = model.eval().forward_head(model.forward_features(images), pre_logits=True)
        expected = model(images)
    assert torch.equal(answer.features, again.features)
    torch.testing.assert_close(answer.features, pooled)
    torch.testing.assert_close(answer.logits, expected)
    torch.testing.assert_close(answer.logits, model.get_classifier()(answer.features))
    assert teacher.id2label is None and teacher.num_labels == 5
    assert teacher.preprocessing == (Preprocessing.from_model(model),)


def test_own_images_win(network: ResNetForImageClassification, images: Tensor) -> None:
    """Where the batch has images made for the teacher, the student's are not for it."""
    teacher = OnlineTeacher(network)
    answer: Any = teacher({"pixel_values": torch.zeros(3, 3, 16, 16), "teacher_pixel_values": images})
    assert torch.equal(answer.logits, teacher({"pixel_values": images})["logits"])


def test_frozen_whatever_is_called(network: ResNetForImageClassification, images: Tensor) -> None:
    """Who holds the model may call `train()` on it, or on a part; its answers and statistics must stay."""
    teacher = OnlineTeacher(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected: Any = teacher({"pixel_values": images})
    for meddle in (
        network.train,
        lambda: network.resnet.train(),
        lambda: [module.train() for module in network.modules() if isinstance(module, nn.BatchNorm2d)],
        lambda: network.requires_grad_(True),
    ):
        meddle()
        with torch.enable_grad():
            answer: Any = teacher({"pixel_values": images})
        assert torch.equal(answer.logits, expected.logits) and torch.equal(answer.features, expected.features)
        assert not answer.logits.requires_grad and not answer.features.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_are_frozen_at_once(network: ResNetForImageClassification) -> None:
    """A parameter that wants gradients would be found by whoever collects parameters."""
    OnlineTeacher(network)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_teacher_is_no_module(network: ResNetForImageClassification) -> None:
    """As an attribute of a module, a module would be saved and trained with it."""
    holder: Any = nn.Module()
    holder.teacher = OnlineTeacher(network)
    assert not list(holder.parameters()) and not holder.state_dict()


def test_follows_the_device_of_the_images(network: ResNetForImageClassification, images: Tensor) -> None:
    """A teacher that stays behind fails on the first step of an accelerator, or computes on the host."""
    teacher = OnlineTeacher(network)
    teacher({"pixel_values": images})
    answer: Any = teacher({"pixel_values": images.to("meta")})
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}
    assert answer.logits.device.type == answer.features.device.type == "meta"


@pytest.mark.parametrize("kind", ["timm", "transformers"])
@pytest.mark.parametrize(("weights", "given"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_dtypes(kind: str, weights: str, given: str, network: Any, images: Tensor) -> None:
    """A half-precision teacher, or images cast by a backend, must not stop the run; answers are float32."""
    model = network if kind == "transformers" else timm.create_model("test_resnet", num_classes=3)
    teacher = OnlineTeacher(model.to(getattr(torch, weights)))
    answer: Any = teacher({"pixel_values": images.to(getattr(torch, given))})
    assert answer.logits.dtype == answer.features.dtype == torch.float32


def test_loaded_from_a_folder(network: ResNetForImageClassification, images: Tensor, tmp_path: Path) -> None:
    """A folder holds the answers of the model that was saved there."""
    network.save_pretrained(tmp_path)
    teacher = OnlineTeacher.from_pretrained(tmp_path)
    expected = AutoModelForImageClassification.from_pretrained(tmp_path)(images).logits
    assert torch.equal(teacher({"pixel_values": images})["logits"], expected)
    with pytest.raises(ValueError, match="could not be loaded from '.*nowhere'"):
        OnlineTeacher.from_pretrained(tmp_path / "nowhere")


def test_how_images_are_wanted(network: ResNetForImageClassification, preprocessing: Preprocessing) -> None:
    """A model that does not say so is not guessed at."""
    assert OnlineTeacher(network).preprocessing == (None,)
    assert OnlineTeacher(network, preprocessing.to_image_processor()).preprocessing == (preprocessing,)


def test_model_without_classes(images: Tensor) -> None:
    """A backbone without a head has no logits to teach; names of classes would be those of nothing."""
    model: Any = timm.create_model("test_resnet", num_classes=0)
    teacher = OnlineTeacher(model)
    answer = teacher({"pixel_values": images})
    assert (teacher.num_labels, teacher.id2label, teacher.feature_dim, answer.logits) == (None, None, 96, None)
    assert torch.equal(answer["features"], model(images))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_asked_in_parts(size: int, network: ResNetForImageClassification, images: Tensor) -> None:
    """A large teacher beside a student fits into memory only so; the answers are those of the whole batch."""
    whole, seen = OnlineTeacher(network)({"pixel_values": images}), []
    handle = network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    answer = OnlineTeacher(network, batch_size=size)({"pixel_values": images})
    handle.remove()
    assert seen == [len(part) for part in torch.arange(3).split(size)]
    torch.testing.assert_close(answer.logits, whole.logits)
    torch.testing.assert_close(answer.features, whole.features)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_parts_that_are_none(size: Any, network: ResNetForImageClassification) -> None:
    with pytest.raises(ValueError, match=r"`batch_size` is .*; expected a whole number of images ≥ 1, or None"):
        OnlineTeacher(network, batch_size=size)


def test_features_are_part_of_the_fingerprint(network: ResNetForImageClassification) -> None:
    """A run that goes on, or stored answers, must not take the mean for what the network pools."""
    own, mean = OnlineTeacher(network), OnlineTeacher(network, features="mean")
    assert own.fingerprint == network_fingerprint(network)
    assert mean.fingerprint not in (own.fingerprint, OnlineTeacher(timm.create_model("test_vit")).fingerprint)
    assert mean.fingerprint == OnlineTeacher(network, features="mean").fingerprint
    vit = timm.create_model("test_vit", num_classes=0)
    assert len({OnlineTeacher(vit, features=each).fingerprint for each in ("own", "cls", "mean")}) == 3


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_loaded_in_a_type(
    dtype: torch.dtype | None, network: ResNetForImageClassification, images: Tensor, tmp_path: Path
) -> None:
    """Half precision halves the memory that weights take; answers stay float32."""
    network.eval().save_pretrained(tmp_path)
    teacher = OnlineTeacher.from_pretrained(tmp_path, dtype=dtype)
    assert {each.dtype for each in teacher.model.parameters()} == {dtype or torch.float32}
    answer = teacher({"pixel_values": images})
    assert answer["logits"].dtype == answer["features"].dtype == torch.float32
    torch.testing.assert_close(answer["logits"], network(images).logits, rtol=0.05, atol=0.05)


def test_pixels_that_are_not_normalised(network: ResNetForImageClassification, images: Tensor) -> None:
    """A loader's batch holds them; answers to values from 0 to 255 are for images that nobody has seen."""
    with pytest.raises(ValueError, match=r"pixels of torch.uint8, .* Pass it through `exrep_hf.data.Normalising"):
        OnlineTeacher(network)({"pixel_values": images.byte()})
