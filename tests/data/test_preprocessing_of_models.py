from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification
from transformers.models.timm_wrapper import TimmWrapperConfig, TimmWrapperForImageClassification

from exrep_hf.data.preprocessing import Preprocessing

SAVED = Preprocessing(20, 20, 24, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def resnet() -> ResNetForImageClassification:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    return ResNetForImageClassification(config)


class ExRepLike(torch.nn.Module):
    def __init__(self, classifier: torch.nn.Module, name_or_path: str = "") -> None:
        super().__init__()
        self.classifier = classifier
        self.config = SimpleNamespace(model_type="exrep")
        self.name_or_path = name_or_path


def test_raw_timm_model_is_evaluated_as_timm_does() -> None:
    """Prevents another crop, size or normalisation than timm's own evaluation transform."""
    model = timm.create_model("mobilenetv3_small_050", pretrained=False)
    rows, columns = np.mgrid[0:300, 0:260]
    image = Image.fromarray(
        np.stack([rows * 255 // 299, columns * 255 // 259, (rows + columns) // 3], -1).astype(np.uint8)
    )
    expected = create_transform(**resolve_model_data_config(model), is_training=False)(image)
    received = Preprocessing.from_model(model).evaluation(image)
    assert received.shape == expected.shape == (3, 224, 224)
    # Pillow and torchvision round their resampling differently, by a level or two of 256.
    levels = (received - expected).abs() * 0.229 * 255
    assert levels.mean() < 0.5


def test_timm_model_with_one_channel() -> None:
    """Prevents three channels for a model made with in_chans=1, whose settings in timm stay at three."""
    preprocessing = Preprocessing.from_model(timm.create_model("resnet18", in_chans=1))
    assert preprocessing.mode == "L"
    assert preprocessing.mean == pytest.approx((0.449,)) and preprocessing.std == pytest.approx((0.226,))


@pytest.mark.parametrize(
    ("name", "size", "grey_inputs"),
    [("tresnet_m", 224, 16), ("naflexvit_base_patch16_gap", 384, 256), ("gemma4_vit_167m", 768, 256)],
)
def test_timm_models_that_cut_images_into_squares(name: str, size: int, grey_inputs: int) -> None:
    """Prevents 48 or 768 channels: the first layer of these takes all pixels of a square at once."""
    with torch.device("meta"):
        model, grey = timm.create_model(name, num_classes=5), timm.create_model(name, num_classes=5, in_chans=1)
    found = Preprocessing.from_model(model)
    assert (found.height, found.width, found.mode) == (size, size, "RGB")
    first_layer: Any = grey.pretrained_cfg["first_conv"]  # type: ignore[index]
    weight = next(grey.get_submodule(first_layer).parameters())
    assert weight.shape[1] == grey_inputs
    assert Preprocessing.from_model(grey).mode == "L"


def test_timm_models_of_other_channels_are_refused() -> None:
    """Prevents a bare assertion for a model of satellite images."""
    with pytest.raises(ValueError, match="ResNet has a first layer `conv1` of 5 inputs; expected one for images of 3"):
        Preprocessing.from_model(timm.create_model("resnet18", in_chans=5))


def test_timm_wrapper_settings_come_from_its_config() -> None:
    """Prevents the architecture's 224 pixels where the checkpoint's config says otherwise."""
    settings: dict[str, Any] = {"input_size": [3, 40, 40], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3}
    config = TimmWrapperConfig.from_dict(
        {"architecture": "mobilenetv3_small_050", "num_classes": 3, "pretrained_cfg": settings}
    )
    preprocessing = Preprocessing.from_model(TimmWrapperForImageClassification(config))
    assert preprocessing == Preprocessing(40, 40, 40, "bicubic", (0.5,) * 3, (0.5,) * 3)


def test_saved_processor_wins(resnet: ResNetForImageClassification, tmp_path: Path) -> None:
    """Prevents ImageNet defaults for a model whose folder says how it was trained."""
    resnet.save_pretrained(tmp_path)
    SAVED.to_image_processor().save_pretrained(tmp_path)
    assert Preprocessing.from_model(AutoModelForImageClassification.from_pretrained(tmp_path)) == SAVED


def test_exrep_model_uses_its_folder_and_else_its_classifier(tmp_path: Path) -> None:
    """Prevents evaluating a trained student with the settings of the network that it started from."""
    classifier = timm.create_model("mobilenetv3_small_050", pretrained=False)
    assert Preprocessing.from_model(ExRepLike(classifier)).height == 224
    assert Preprocessing.from_model(ExRepLike(classifier, str(tmp_path))).height == 224
    SAVED.to_image_processor().save_pretrained(tmp_path)
    assert Preprocessing.from_model(ExRepLike(classifier, str(tmp_path))) == SAVED


def test_unknown_settings_are_an_error(resnet: ResNetForImageClassification, tmp_path: Path) -> None:
    """Prevents guessing a normalisation."""
    with pytest.raises(ValueError, match="Pass its image processor as processing_class"):
        Preprocessing.from_model(resnet)
    resnet.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no image processor"):
        Preprocessing.from_model(AutoModelForImageClassification.from_pretrained(tmp_path))
