"""`--torch_compile` as people type it: with the default backend."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor
from transformers import PreTrainedModel, ResNetConfig, ResNetForImageClassification

from exrep_hf import ExRepForImageClassification
from exrep_hf.models import load_classifier
from tests.settings import EVERY_TERM

NAMES = {number: str(number) for number in range(4)}
PRESETS: dict[str, dict[str, Any]] = {
    "exrep": {"ce_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "freeze_batch_norm": False},
    "kd": {"crd_weight": 0.0, "adversarial_weight": 0.0},
    "exrep-paper": EVERY_TERM,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_two_steps_compiled_are_those_of_eager(
    preset: str,
    make_trainer: Callable[..., Any],
    logged: Callable[..., list[float]],
) -> None:
    """With a single term of weight 1 inductor joined loss and component, and nothing could be trained."""
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", id2label=NAMES)
    check_compiled(lambda: ResNetForImageClassification(config), PRESETS[preset], make_trainer, logged, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet18", "test_efficientnet", "test_vit"])
def test_real_architectures(
    architecture: str, make_trainer: Callable[..., Any], logged: Callable[..., list[float]]
) -> None:
    """All terms at once, through timm's layers and transformers' wrapper of them."""

    def build() -> PreTrainedModel:
        return load_classifier(f"timm/{architecture}", id2label=NAMES, pretrained=False)

    check_compiled(build, EVERY_TERM, make_trainer, logged, 1e-3)


def check_compiled(
    build: Callable[[], PreTrainedModel],
    terms: dict[str, Any],
    make_trainer: Callable[..., Any],
    logged: Callable[..., list[float]],
    tolerance: float,
) -> None:
    """Train two steps, eager and compiled, from the same weights, and compare their losses."""
    histories = []
    for compiled in (False, True):
        torch.manual_seed(4)
        torch._dynamo.reset()
        student = ExRepForImageClassification.from_backbone(build(), image_size=16)
        trainer = make_trainer(model=student, max_steps=2, torch_compile=compiled, **terms)
        # Negatives have to be the same ones.
        with inductor.patch(fallback_random=True):
            trainer.train()
        histories.append({name: logged(trainer, name) for name in ("loss", "loss_kd")})
        assert trainer.args.torch_compile_backend == ("inductor" if compiled else None)
        assert trainer.teacher.is_compiled == compiled, "the teacher is half of a step"
    assert len(histories[0]["loss"]) == 2
    for name, eager in histories[0].items():
        assert histories[1][name] == pytest.approx(eager, rel=tolerance), name
