"""Small untrained networks of many families, with and without a classifier, for images of 32 pixels."""

from collections.abc import Callable
from typing import Any

import timm
import torch
import transformers
from torch import nn
from torch.utils.data import Dataset

SIZE = 32
CLASSES = 4
_VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "image_size": SIZE,
    "patch_size": 8,
}
_STAGES: dict[str, Any] = {"hidden_sizes": [4, 8, 8, 12], "depths": [1, 1, 1, 1]}
_TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "vocab_size": 30,
    "max_position_embeddings": 10,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
_SWIN = {"image_size": SIZE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

_BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "Dinov2Model": ("Dinov2Config", _VIT),
    "Dinov2WithRegistersModel": ("Dinov2WithRegistersConfig", _VIT | {"num_register_tokens": 3}),
    "DINOv3ViTModel": ("DINOv3ViTConfig", _VIT | {"num_register_tokens": 4}),
    "DINOv3ConvNextModel": ("DINOv3ConvNextConfig", _STAGES | {"image_size": SIZE}),
    "CLIPVisionModel": ("CLIPVisionConfig", _VIT),
    "SiglipVisionModel": ("SiglipVisionConfig", _VIT),
    "Aimv2VisionModel": ("Aimv2VisionConfig", _VIT),
    "ConvNextModel": ("ConvNextConfig", _STAGES),
    "ConvNextV2Model": ("ConvNextV2Config", _STAGES),
    "ViTModel": ("ViTConfig", _VIT | {"pooler_output_size": 14}),
    "BeitModel": ("BeitConfig", _VIT),
    "SwinModel": ("SwinConfig", _SWIN),
    "ResNetModel": ("ResNetConfig", _RESNET),
    "RegNetModel": (
        "RegNetConfig",
        {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "groups_width": 2},
    ),
}
# Without a pooler.
_TOKENS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViTMSNModel": ("ViTMSNConfig", _VIT),
    "IJepaModel": ("IJepaConfig", _VIT),
    "PoolFormerModel": ("PoolFormerConfig", {"hidden_sizes": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}),
}
_CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Dinov2ForImageClassification": ("Dinov2Config", _VIT),
    "ViTForImageClassification": ("ViTConfig", _VIT),
    "BeitForImageClassification": ("BeitConfig", _VIT),
    "ResNetForImageClassification": ("ResNetConfig", _RESNET),
    "ConvNextForImageClassification": ("ConvNextConfig", _STAGES),
    "SwinForImageClassification": ("SwinConfig", _SWIN),
}
_TIMM: dict[str, dict[str, Any]] = {
    "test_vit": {"img_size": SIZE},
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "vit_tiny_patch16_224": {"img_size": SIZE, "depth": 1, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28, "depth": 1, "embed_dim": 24, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"img_size": SIZE, "depth": 1, "embed_dim": 24, "num_heads": 2},
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 1, "embed_dim": 24, "num_heads": 2},
}


def two_towers(family: str) -> Any:
    """A model of images and text: CLIP, SigLIP, AltCLIP or AIMv2."""
    extra = {"project_dim": 8} if family == "AltCLIP" else {}
    towers = {"vision_config": _VIT, "text_config": _TEXT | extra}
    projection = {} if family == "Siglip" else {"projection_dim": 8}
    return _seeded(getattr(transformers, f"{family}Config")(**towers, **projection), f"{family}Model")


def naflex() -> Any:
    """SigLIP 2 of patches, of which each image has a number of its own."""
    vision = {name: value for name, value in _VIT.items() if name != "image_size"}
    return _seeded(transformers.Siglip2Config(vision_config=vision, text_config=_TEXT), "Siglip2Model")


def of_transformers(name: str) -> Any:
    """A network by the name of its class."""
    config_name, options = (_BACKBONES | _TOKENS | _CLASSIFIERS)[name]
    config = getattr(transformers, config_name)(**options)
    if name in _CLASSIFIERS:
        config.id2label = {label: f"class {label}" for label in range(CLASSES)}
        config.label2id = {name: label for label, name in config.id2label.items()}
    return _seeded(config, name)


def of_timm(name: str, num_classes: int = 0) -> Any:
    """A network of timm by its name."""
    torch.manual_seed(0)
    return _varied(timm.create_model(name, num_classes=num_classes, **_TIMM[name]))


def size_of(name: str) -> int:
    """Side of its images in pixels."""
    return _TIMM.get(name, {}).get("img_size", SIZE)


def _seeded(config: Any, class_name: str) -> Any:
    torch.manual_seed(0)
    return _varied(getattr(transformers, class_name)(config))


def _varied(model: nn.Module) -> nn.Module:
    """Give BatchNorm statistics, and weights that start at zero or nearly so, values that would not go unnoticed."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


POOLING: dict[str, Callable[[], Any]] = {name: lambda name=name: of_transformers(name) for name in _BACKBONES}  # type: ignore[misc]
TOKENS: dict[str, Callable[[], Any]] = {name: lambda name=name: of_transformers(name) for name in _TOKENS}  # type: ignore[misc]
CLASSIFIERS: dict[str, Callable[[], Any]] = {name: lambda name=name: of_transformers(name) for name in _CLASSIFIERS}  # type: ignore[misc]
TIMM = tuple(_TIMM)
TOWERS = ("CLIP", "Siglip", "AltCLIP", "Aimv2")


class Rows(Dataset):
    """Images as student and teacher want them."""

    def __init__(self, teacher_size: int = SIZE) -> None:
        generator = torch.Generator().manual_seed(7)
        self.images = torch.randn(8, 3, SIZE, SIZE, generator=generator)
        self.own = torch.randn(8, 3, teacher_size, teacher_size, generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Any]:
        pixels = {"pixel_values": self.images[row], "teacher_pixel_values": self.own[row]}
        return {**pixels, "labels": row % CLASSES, "sample_index": row}
