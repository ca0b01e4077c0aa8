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
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
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
    answers = []
    for model in (read, whole):
        reader = FeatureReader(model)
        torch.manual_seed(1)
        with torch.no_grad():
            answers.append(reader(model.train(), images))
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(plain.train()(images), answers[0][0])
    for path, buffer in plain.named_buffers():
        assert torch.equal(buffer, read.get_buffer(path)), path
    assert torch.equal(answers[0][1], answers[1][1])
    assert not torch.equal(answers[0][0], answers[1][0]), "nothing was dropped"
