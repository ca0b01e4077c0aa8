"""What the features of any timm model have to be, and models small enough to look at."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from exrep_hf.models import FeatureReader


def build(name: str, **options: Any) -> nn.Module:
    """An untrained model of timm for 5 classes, whose BatchNorm statistics are not the neutral ones."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **options)
    for module in model.modules():
        # A neutral BatchNorm is all but the identity, and would hide on which side of it features are read.
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
        if isinstance(module, nn.Linear) and module.out_features == 5:
            # Some heads start at zero, and would make any two logits equal.
            nn.init.normal_(module.weight)
    return model


def check_evaluation(model: nn.Module, images: Tensor) -> None:
    """Features are timm's own, logits are the model's."""
    model.eval()
    reader = FeatureReader(model)
    with torch.no_grad():
        logits, features = reader(model, images)
        expected = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
        assert torch.equal(logits, model(images))
    assert features.shape == (len(images), reader.feature_dim)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def check_training(name: str, images: Tensor, **options: Any) -> None:
    """In training too logits and statistics are the model's own, of one forward; features are before its dropout."""
    try:
        plain, read = (build(name, drop_rate=0.5, **options) for _ in range(2))
    except (TypeError, AssertionError) as error:
        pytest.skip(f"takes no drop_rate: {error}")
    whole = build(name, drop_rate=0.0, **options)
    outputs = []
    reader, whole_reader = FeatureReader(read), FeatureReader(whole)
    for model, answer in ((plain, plain), (read, lambda x: reader(read, x)), (whole, lambda x: whole_reader(whole, x))):
        torch.manual_seed(1)
        model.train()
        with torch.no_grad():
            outputs.append(answer(images))
    assert torch.equal(outputs[0], outputs[1][0])
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, read.get_buffer(name)), name
    assert torch.equal(outputs[1][1], outputs[2][1])
    assert not torch.equal(outputs[1][0], outputs[2][0]), "nothing was dropped"
