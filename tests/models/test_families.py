"""Families of transformers whose configuration alone does not say which classifier it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForImageClassification

from exrep_hf.models import ExRepForImageClassification


@pytest.mark.parametrize("family", ["DeiTForImageClassification", "DeiTForImageClassificationWithTeacher", "Pvt"])
def test_families_that_share_or_hide_a_configuration(family: str, tmp_path: Path) -> None:
    """Several classes for one configuration, or labels that are only counted, must not end in another network."""
    classifier: Any
    if family == "Pvt":
        classifier = transformers.PvtForImageClassification(transformers.PvtConfig(image_size=32, num_labels=5))
    else:
        config = transformers.DeiTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
        config.num_labels = 5
        classifier = getattr(transformers, family)(config)
    student = ExRepForImageClassification.from_backbone(classifier).eval()
    student.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    pixels = torch.randn(2, 3, 32, 32)
    assert type(loaded.classifier) is type(classifier)
    assert loaded.config.num_labels == 5
    assert torch.equal(loaded(pixels).logits, student(pixels).logits)
