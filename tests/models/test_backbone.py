import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers.utils.hub
from timm.models import save_for_hf
from torch import Tensor
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel, TimmWrapperForImageClassification

from exrep_hf.models import FeatureReader, load_classifier, set_input_size
from exrep_hf.models.backbone import image_shape

NAMES = {0: "cat", 1: "dog", 2: "cow"}


def resnet_config(**kwargs: Any) -> ResNetConfig:
    return ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], **kwargs)


@pytest.fixture
def resnet_folder(tmp_path: Path, images: Tensor) -> Path:
    model = ResNetForImageClassification(resnet_config(id2label=NAMES)).train()
    for _ in range(3):
        model(images)
    model.save_pretrained(tmp_path)
    return tmp_path


def test_folder_of_transformers(resnet_folder: Path, images: Tensor) -> None:
    """A classifier must come back with its weights, its names, and in evaluation mode."""
    model = load_classifier(resnet_folder)
    expected = ResNetForImageClassification.from_pretrained(resnet_folder).eval()
    assert not model.training
    assert torch.equal(model(images).logits, expected(images).logits)
    assert model.config.id2label == NAMES


@pytest.mark.parametrize("safe", [True, False])
def test_folder_of_timm(safe: bool, tmp_path: Path, images: Tensor) -> None:
    """What timm's own `save_for_hf` wrote fails in transformers, or loses its labels."""
    network = timm.create_model("test_efficientnet", num_classes=3).train()
    for _ in range(3):
        network(images)
    network.eval()
    labels = {"label_names": list(NAMES.values())}
    save_for_hf(network, str(tmp_path), model_config=labels, safe_serialization=safe)
    model = load_classifier(tmp_path, num_labels=3)
    assert isinstance(model, TimmWrapperForImageClassification)
    assert torch.equal(model(images).logits, network(images))
    assert model.config.id2label == NAMES
    assert image_shape(model.config) == (3, 160)


@pytest.mark.parametrize("name", ["timm/test_efficientnet", "timm/test_efficientnet.r160_in1k"])
def test_new_timm_network_has_the_initialisation_of_timm(name: str) -> None:
    """Transformers draws every convolution from N(0, 0.02), from which these networks hardly train."""
    torch.manual_seed(1)
    model = load_classifier(name, num_labels=5, pretrained=False)
    reference = timm.create_model("test_efficientnet", num_classes=5)
    networks = (model.get_submodule("timm_model"), reference)
    spread = [network.get_parameter("conv_stem.weight").std().item() for network in networks]
    assert spread[0] == pytest.approx(spread[1], rel=0.1)
    assert spread[0] > 0.05
    assert model.config.num_labels == model(torch.zeros(1, 3, 32, 32)).logits.shape[1] == 5
    assert model.config.pretrained_cfg["mean"] == timm.get_pretrained_cfg_value("test_efficientnet", "mean")
    assert image_shape(model.config) == (3, 160)


def test_new_timm_network_with_imagenet_labels() -> None:
    """Without a number of classes the architecture's own 1000, with their names, are what a user expects."""
    model = load_classifier("timm/test_resnet", pretrained=False)
    assert model.config.num_labels == 1000
    assert model.config.to_dict()["label_names"][0] == "tench, Tinca tinca"


def test_new_network_from_a_folder(resnet_folder: Path, images: Tensor) -> None:
    """`pretrained=False` must not load weights, and its head must have the classes asked for."""
    old, new = load_classifier(resnet_folder), load_classifier(resnet_folder, num_labels=7, pretrained=False)
    assert new(images).logits.shape == (2, 7)
    assert new.config.to_dict()["id2label"][6] == "LABEL_6"
    first = "resnet.embedder.embedder.convolution.weight"
    assert not torch.equal(old.get_parameter(first), new.get_parameter(first))


def test_names_of_classes(resnet_folder: Path) -> None:
    """Renaming classes must keep the head and count the names."""
    renamed = load_classifier(resnet_folder, id2label={0: "a", 1: "b", 2: "c"})
    assert renamed.config.label2id == {"a": 0, "b": 1, "c": 2}
    new = load_classifier("timm/test_resnet", id2label={0: "a", 1: "b"}, pretrained=False)
    assert new.config.num_labels == len(new.get_parameter("timm_model.fc.weight")) == 2
    with pytest.raises(ValueError, match=r"keys \[1, 2, 3\]; expected 0 to 2"):
        load_classifier(resnet_folder, id2label={1: "a", 2: "b", 3: "c"})


def test_other_number_of_classes(resnet_folder: Path) -> None:
    """Transformers would put a random head on the trained network and only log it."""
    with pytest.raises(ValueError, match="weights for 3 classes and 10 were asked for.*…, num_labels=10"):
        load_classifier(resnet_folder, num_labels=10)
    with pytest.raises(ValueError, match="weights for 3 classes and 1 were asked for"):
        load_classifier(resnet_folder, id2label={0: "a"})


def test_checkpoint_without_a_head(tmp_path: Path) -> None:
    """The weights of a feature extractor would get a random head, silently."""
    ResNetModel(resnet_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no weights for classifier\.1\.bias, classifier\.1\.weight"):
        load_classifier(tmp_path)


def test_broken_folders(resnet_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A half-written checkpoint must be named, with the reason kept."""
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(
        ValueError, match=f"could not be loaded from '{empty}'.*Expected a folder with config.json"
    ) as e:
        load_classifier(empty)
    assert e.value.__cause__ is not None
    weights = resnet_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="Weights of an image classifier could not be loaded"):
        load_classifier(resnet_folder)
    weights.unlink()
    with pytest.raises(ValueError, match="Weights of an image classifier could not be loaded"):
        load_classifier(resnet_folder)
    (resnet_folder / "config.json").write_text(json.dumps({"model_type": "none-such"}))
    with pytest.raises(ValueError, match="The architecture of an image classifier could not be loaded"):
        load_classifier(resnet_folder, pretrained=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [("timm/none-such", "no such architecture"), ("timm/test_vit.none", r"timm knows timm/test_vit\.r160_in1k")],
)
def test_unknown_timm_names(name: str, message: str) -> None:
    """A wrong tag is the commonest slip: the right ones should be in the message."""
    with pytest.raises(ValueError, match=message):
        load_classifier(name, pretrained=False)


def test_names_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's answer must come out as an error about the name that was given."""

    def not_found(*args: Any, **kwargs: Any) -> None:
        raise OSError("404")

    monkeypatch.setattr(transformers.utils.hub, "cached_files", not_found)
    with pytest.raises(ValueError, match="could not be loaded from 'nobody/nothing'.*hf auth login"):
        load_classifier("nobody/nothing", revision="abc")


@pytest.mark.parametrize(
    ("size", "expected"), [(64, 64), ((32, 48), 48), (None, None)], ids=["square", "oblong", "none"]
)
def test_image_shape_of_transformers_configs(size: Any, expected: int | None) -> None:
    """The paper's distiller takes its width from this size."""
    config = resnet_config(num_channels=1)
    if size is not None:
        config.image_size = size
    assert image_shape(config) == (1, expected)


@pytest.mark.parametrize("kind", ["resnet", "timm"])
def test_new_head_keeps_the_body(kind: str, resnet_folder: Path, tmp_path: Path, images: Tensor) -> None:
    """A head for other classes must not reset the trained network under it, and must survive a save."""
    folder = resnet_folder
    if kind == "timm":
        folder = tmp_path / "timm"
        load_classifier("timm/test_resnet", num_labels=3, pretrained=False).save_pretrained(folder)
    old, new = load_classifier(folder), load_classifier(folder, num_labels=7, new_head=True)
    head = FeatureReader(new).layer_name
    assert FeatureReader(new).num_labels == 7
    assert new(images).logits.shape == (2, 7)
    weights = new.state_dict()
    for name, weight in old.state_dict().items():
        assert name.startswith(f"{head}.") or torch.equal(weights[name], weight), name
    new.save_pretrained(tmp_path / "new")
    assert torch.equal(load_classifier(tmp_path / "new")(images).logits, new(images).logits)


def test_input_size_is_what_timm_reads(tmp_path: Path) -> None:
    """Images at the old size would cost more, or be cropped where training used the whole image."""
    model = load_classifier("timm/test_resnet", num_labels=3, pretrained=False)
    others: dict[str, Any] = {"test_input_size": [3, 96, 96], "test_crop_pct": 0.9, "fixed_input_size": True}
    model.config.pretrained_cfg.update(others, crop_mode="squash")
    set_input_size(model.config, 48)
    model.save_pretrained(tmp_path)
    loaded = load_classifier(tmp_path).config
    assert image_shape(loaded) == (3, 48)
    for at_test in (False, True):
        data = timm.data.resolve_data_config(loaded.pretrained_cfg, use_test_size=at_test)
        assert (data["input_size"], data["crop_pct"], data["crop_mode"]) == ((3, 48, 48), 1.0, "center")
    assert loaded.pretrained_cfg.keys().isdisjoint(others), "a fixed size would refuse images of any other"
