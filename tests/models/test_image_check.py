from typing import Any

import pytest
import timm
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from exrep_hf.models import load_classifier
from exrep_hf.models.image_check import check_takes_image

VIT = ViTConfig(
    image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20
)


def timm_vit(**options: Any) -> nn.Module:
    return timm.create_model("test_vit", num_classes=3, dynamic_img_size=False, **options)


@pytest.mark.parametrize(
    ("model", "image", "message"),
    [
        (
            ViTForImageClassification(VIT),
            torch.zeros(3, 48, 64),
            r"The student can't take images of 3 channels, 48 × 64 pixels \(Input image size .*; by its configuration "
            r"it takes 3 channels, 32 × 32 pixels\. Give it images of its own size",
        ),
        (timm_vit(), torch.zeros(3, 64, 64), r"64 × 64 pixels \(Input height.* doesn't match .*3 channels, 160 × 160"),
        (
            load_classifier("timm/vit_tiny_patch16_224", num_labels=3, pretrained=False),
            torch.zeros(3, 64, 64),
            r"by its configuration it takes 3 channels, 224 × 224 pixels",
        ),
        (timm_vit(in_chans=4), torch.zeros(3, 160, 160), r"of 3 channels, .*expected input.* to have 4 channels"),
        (timm.create_model("test_resnet", in_chans=1), torch.zeros(3, 32, 32), r"to have 1 channels"),
    ],
)
def test_images_that_a_model_can_not_take(model: nn.Module, image: torch.Tensor, message: str) -> None:
    """Its own assertion comes in the first step, and names neither the model nor what to change."""
    with pytest.raises(ValueError, match=message) as caught:
        check_takes_image(model, image, "student")
    assert caught.value.__cause__ is not None


def test_the_model_stays_as_it_is() -> None:
    """Frozen parts, statistics and random numbers must not differ after a look."""
    model: Any = timm.create_model("test_efficientnet", num_classes=3, drop_rate=0.5).train()
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image, state = torch.randn(3, 32, 32), torch.get_rng_state()
    check_takes_image(model, image, "student")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and not model.bn1.training
    assert all(
        module.training for module in model.modules() if module is not model.bn1 and module not in model.bn1.modules()
    )
    # A half-precision teacher on the CPU is given images of its own type.
    check_takes_image(model.bfloat16(), torch.randn(3, 32, 32), "teacher")
