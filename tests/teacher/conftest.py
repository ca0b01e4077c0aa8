from collections.abc import Iterator

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf.data import Preprocessing


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


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
