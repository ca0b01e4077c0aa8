from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification

from exrep_hf.models import ExRepForImageClassification, load_classifier, to_float32


def resnet() -> Any:
    names = {0: "a", 1: "b", 2: "c"}
    return ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], id2label=names))


def test_only_half_precision_is_turned() -> None:
    """Weights in float64 are finer than float32, and counters are no numbers to compute with."""
    model = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2).double(), nn.BatchNorm1d(2).bfloat16())
    shared = model[0].weight
    assert to_float32(model) == (torch.bfloat16, torch.float16)
    assert model[0].weight is shared
    dtypes = [tensor.dtype for tensor in (*model[0].parameters(), *model[1].parameters(), *model[2].buffers())]
    assert dtypes == [torch.float32] * 2 + [torch.float64] * 2 + [torch.float32] * 2 + [torch.int64]
    assert to_float32(model) == ()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_loaded_in_float32_whatever_it_was_saved_in(half: torch.dtype, tmp_path: Path) -> None:
    """Transformers 5 loads in the checkpoint's own type."""
    model = resnet().to(half)
    model.save_pretrained(tmp_path)
    assert AutoModelForImageClassification.from_pretrained(tmp_path).dtype == half
    loaded = load_classifier(tmp_path)
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].to(value.dtype)), name
    assert load_classifier(tmp_path, dtype=None).dtype == half
    assert load_classifier(tmp_path, num_labels=5, pretrained=False).dtype == torch.float32
    assert load_classifier(tmp_path, num_labels=5, new_head=True).dtype == torch.float32


def test_students_in_float32(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A student is trained, however it was made."""
    model = resnet().to(torch.bfloat16)
    student: Any = ExRepForImageClassification.from_backbone(model, "light")
    assert student.classifier is model
    assert "ResNetForImageClassification were torch.bfloat16 and are float32 now" in caplog.text
    assert {tensor.dtype for tensor in student.parameters()} == {torch.float32}
    student.to(torch.bfloat16).save_pretrained(tmp_path)
    for loader in (ExRepForImageClassification, AutoModelForImageClassification):
        assert {tensor.dtype for tensor in loader.from_pretrained(tmp_path).parameters()} == {torch.float32}
    assert ExRepForImageClassification.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16
    assert ExRepForImageClassification.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16
