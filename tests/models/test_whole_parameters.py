"""Models are built whole, whatever transformers was told about DeepSpeed."""

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.integrations import deepspeed
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from exrep_hf.models import FeatureReader, whole_parameters


class _Config:
    def is_zero3(self) -> bool:
        return True


def test_zero3_is_out_of_sight_inside_alone() -> None:
    config = _Config()
    deepspeed.set_hf_deepspeed_config(config)
    try:
        assert is_deepspeed_zero3_enabled()
        with pytest.raises(RuntimeError, match="inside"), whole_parameters():
            assert not is_deepspeed_zero3_enabled()
            raise RuntimeError("inside")
        assert is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()
    with whole_parameters():
        pass
    assert not is_deepspeed_zero3_enabled()


def test_a_model_that_was_split_is_refused() -> None:
    """Its parameters have no elements; the first answer would be an error about shapes, or none at all."""
    model = ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1]))
    for parameter in model.parameters():
        parameter.data = torch.empty(0)
    with pytest.raises(ValueError, match="ResNetForImageClassification were split by DeepSpeed ZeRO-3.*give its name"):
        FeatureReader(model)
