"""What is written is loaded by `from_pretrained`, and read by others than who wrote it."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification, ViTImageProcessor

from exrep_hf.models.write_network import write_network


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_all_files_have_the_mode_that_the_user_wants(tmp_path: Path, mask: int, mode: int) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    network = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **sizes))
    before = os.umask(mask)
    try:
        write_network(network, ViTImageProcessor(size={"height": 8, "width": 8}), tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}
    loaded = ViTForImageClassification.from_pretrained(tmp_path)
    assert all(map(torch.equal, network.state_dict().values(), loaded.state_dict().values()))
    assert AutoImageProcessor.from_pretrained(tmp_path).size["height"] == 8


def test_weights_of_elsewhere_and_no_processor(tmp_path: Path) -> None:
    network = ViTForImageClassification(
        ViTConfig(image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=0, num_attention_heads=2)
    )
    state = {name: value + 1 for name, value in network.state_dict().items()}
    write_network(network, None, tmp_path, state)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    loaded = ViTForImageClassification.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
