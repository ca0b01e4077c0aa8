import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf.data import Preprocessing


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def network() -> ResNetForImageClassification:
    """In training mode, as a careless user hands it over."""
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", id2label={0: "a", 1: "b", 2: "c"}
    )
    model = ResNetForImageClassification(config).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 16, 16))
    return model
