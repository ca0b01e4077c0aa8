"""A student that drops nothing while it is trained, whatever it would drop by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import (
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from exrep_hf import DistillationArguments, ExRepForImageClassification
from exrep_hf.study.stages import labels_only
from exrep_hf.training.default_settings import complete
from exrep_hf.training.objective import DistillationObjective

SIZE = 32
CLASSES: dict[str, Any] = {"num_labels": 3}


def _efficientnet() -> Any:
    """Dropout by a function in the network itself, and stochastic depth by modules; BatchNorm."""
    return timm.create_model("test_efficientnet", num_classes=3, drop_rate=0.5, drop_path_rate=0.5)


def _timm_vit() -> Any:
    rates: dict[str, Any] = {"drop_rate": 0.3, "attn_drop_rate": 0.3, "drop_path_rate": 0.3, "proj_drop_rate": 0.3}
    return timm.create_model("test_vit", num_classes=3, img_size=SIZE, patch_drop_rate=0.3, **rates)


def _vit() -> Any:
    """Dropout of attention by an argument of a function, which is 0 in `eval()` alone."""
    settings: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings |= {"intermediate_size": 16, "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
    return ViTForImageClassification(ViTConfig(image_size=SIZE, patch_size=8, **CLASSES, **settings))


def _swin() -> Any:
    config = SwinConfig(
        image_size=SIZE, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, **CLASSES,
        drop_path_rate=0.5, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3,
    )  # fmt: skip
    return SwinForImageClassification(config)


def _convnext() -> Any:
    config = ConvNextV2Config(image_size=SIZE, hidden_sizes=[8, 8], depths=[2, 2], drop_path_rate=0.9, **CLASSES)
    config.num_stages = 2
    return ConvNextV2ForImageClassification(config)


NETWORKS = (_efficientnet, _timm_vit, _vit, _swin, _convnext)


def objective_of(network: Any, folder: Path, **changes: Any) -> DistillationObjective:
    student = ExRepForImageClassification.from_backbone(network, image_size=SIZE)
    settings: dict[str, Any] = {"feature_weight": 0.0, "freeze_batch_norm": True, "use_cpu": True, "report_to": "none"}
    return DistillationObjective(student, DistillationArguments(str(folder), **settings | changes))


@pytest.mark.parametrize("make", NETWORKS, ids=[make.__name__.strip("_") for make in NETWORKS])
@pytest.mark.parametrize("disabled", [False, True])
def test_two_forwards_in_training(make: Callable[[], Any], disabled: bool, tmp_path: Path) -> None:
    """What is drawn anew at each forward is dropout; `eval()` is what they have to equal without it."""
    torch.manual_seed(0)
    objective = objective_of(make(), tmp_path, disable_dropout=disabled)
    # A fresh network may answer with its bias, whatever it has dropped.
    for parameter in objective.student.parameters():
        nn.init.normal_(parameter, std=0.2)
    images = torch.randn(8, 3, SIZE, SIZE)
    first, second = (objective.train().student(images).logits for _ in range(2))
    assert torch.equal(first, second) == disabled
    expected = objective.eval().student(images).logits
    assert torch.equal(first, expected) == disabled
    assert expected.std() > 1e-3
    assert objective.train().training


@pytest.mark.parametrize("frozen", [False, True])
def test_only_statistics_are_still_trained(frozen: bool, tmp_path: Path) -> None:
    """BatchNorm follows its own setting; with both the student is in `eval()` as a whole, as in the paper."""
    objective = objective_of(_efficientnet(), tmp_path, disable_dropout=True, freeze_batch_norm=frozen)
    for _ in range(2):
        objective.train()
        norms = [module for module in objective.student.modules() if isinstance(module, _BatchNorm)]
        others = [module for module in objective.student.modules() if not isinstance(module, _BatchNorm)]
        assert norms and {module.training for module in norms} == {not frozen}
        assert not any(module.training for module in others)
        assert all(module.training for module in objective.terms.modules())
        objective.eval()
        assert not any(module.training for module in objective.modules())
    before = norms[0].state_dict()["running_mean"].clone()
    objective.train().student(torch.randn(4, 3, SIZE, SIZE))
    assert torch.equal(norms[0].state_dict()["running_mean"], before) == frozen


@pytest.mark.parametrize("disabled", [False, True])
def test_the_whole_run_drops_nothing(disabled: bool, make_trainer: Callable[..., Any]) -> None:
    """The Trainer sets its mode at each step, and after each evaluation."""
    runs = []
    for seed in (1, 2):
        network = timm.create_model("test_efficientnet", num_classes=4, drop_rate=0.9, drop_path_rate=0.5)
        with torch.no_grad():
            for number, parameter in enumerate(network.parameters()):
                generator = torch.Generator().manual_seed(number)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        trainer = make_trainer(
            model=network, disable_dropout=disabled, crd_weight=0.0, adversarial_weight=0.0, feature_weight=0.0,
            train_sampling_strategy="sequential", classes="position", seed=seed,
        )  # fmt: skip
        trainer.train()
        runs.append(trainer.student.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0]) == disabled


def test_the_stages_before_drop_what_they_would(tmp_path: Path) -> None:
    """It is a setting of distillation: a student that starts from nothing is first trained as ever."""
    args = DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path))
    assert args.disable_dropout and args.freeze_batch_norm
    assert not labels_only(args).disable_dropout
    assert not DistillationArguments(str(tmp_path)).disable_dropout


def test_layers_that_recompute_do_so_in_training_mode_alone(tmp_path: Path) -> None:
    """Memory that was to be saved is not."""
    args = DistillationArguments(str(tmp_path), disable_dropout=True, activation_checkpointing=True)
    assert any("keep all activations with `disable_dropout`" in line for line in complete(args, False, 10).told)
    args.disable_dropout = False
    assert not any("disable_dropout" in line for line in complete(args, False, 10).told)
