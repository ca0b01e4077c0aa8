"""The trained module, against its losses called one by one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf import DistillationArguments, ExRepForImageClassification
from exrep_hf.training.objective import DistillationObjective
from tests.settings import EVERY_TERM

WEIGHTS = {"ce": 0.7, "kd": 1.3, "feature": 0.6, "crd": 0.4, "adversarial": 0.3, "critic": 0.9}


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "pixel_values": torch.randn(4, 3, 16, 16, generator=generator),
        "labels": torch.tensor([0, 1, 2, 1]),
        "sample_index": torch.tensor([5, 0, 9, 3]),
        "teacher_logits": torch.randn(4, 3, generator=generator),
        "teacher_features": torch.randn(4, 7, generator=generator),
    }


def make_objective(tmp_path: Path, **changes: Any) -> Any:
    torch.manual_seed(0)
    names = {0: "a", 1: "b", 2: "c"}
    classifier = ResNetForImageClassification(
        ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", id2label=names)
    )
    student = ExRepForImageClassification.from_backbone(
        classifier, distiller="light", distiller_channels=4, image_size=16
    )
    settings = {f"{name}_weight": weight for name, weight in WEIGHTS.items()} | {
        "num_negatives": 6,
        "embedding_dim": 4,
        "critic_hidden_dim": 4,
        "temperature": 2.0,
        "label_smoothing_factor": 0.2,
    }
    args = DistillationArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", **EVERY_TERM | settings | changes
    )
    return DistillationObjective(student, args, teacher_dim=7, num_samples=10)


def test_components_and_total(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """Each component under its own name, unweighted; the total with the weights."""
    objective = make_objective(tmp_path).train()
    output = objective(**batch)
    student = objective.student(batch["pixel_values"], output_features=True)
    assert student.logits is not None and torch.equal(output.logits, student.logits)
    smooth = F.one_hot(batch["labels"], 3) * 0.8 + 0.2 / 3
    ce = -(smooth * student.logits.log_softmax(1)).sum(1).mean()
    p = (batch["teacher_logits"] / 2).softmax(1)
    kd = 4 * (p * (p.log() - (student.logits / 2).log_softmax(1))).sum(1).mean()
    adversarial, critic = objective.adversarial(student.features, batch["teacher_features"])
    feature = objective.feature(student.features, batch["teacher_features"])
    expected = {"loss_ce": ce, "loss_kd": kd, "loss_feature": feature}
    expected |= {"loss_adversarial": adversarial, "loss_critic": critic}
    for name, value in expected.items():
        torch.testing.assert_close(output.losses[name], value.detach())
    total = sum(weight * output.losses[f"loss_{name}"] for name, weight in WEIGHTS.items())
    torch.testing.assert_close(output.loss, total)


def test_gradient_is_the_weighted_sum(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """A component that is logged but detached, or counted twice, shows in gradients alone."""
    alone = {}
    for name, settings in {
        "ce": {"kd_weight": 0.0, "feature_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0},
        "kd": {"ce_weight": 0.0, "feature_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0},
        "both": {"feature_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0},
    }.items():
        objective = make_objective(tmp_path, **settings).train()
        objective(**batch).loss.backward()
        alone[name] = [parameter.grad for parameter in objective.student.parameters()]
    for first, second, both in zip(*alone.values(), strict=True):
        torch.testing.assert_close(first + second, both)
        assert both.abs().sum() > 0 or first is not None


def test_every_part_gets_a_gradient(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """A parameter without a gradient is never trained, and stops DDP."""
    objective = make_objective(tmp_path).train()
    # The zero residual lets no gradient through to the layers before it.
    nn.init.normal_(objective.student.input_distiller.to_residual.weight)
    objective(**batch).loss.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_distiller_gets_a_gradient_at_zero_residual(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """A distiller whose last layer gets none stays at zero for ever."""
    objective = make_objective(tmp_path).train()
    objective(**batch).loss.backward()
    assert objective.student.input_distiller.to_residual.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("missing", "weight"),
    [
        ("labels", "ce_weight"),
        ("teacher_logits", "kd_weight"),
        ("teacher_features", "feature_weight"),
        ("sample_index", "crd_weight"),
    ],
)
def test_missing_input(missing: str, weight: str, tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """A term that leaves itself out in training is a run without it, under its name; in evaluation it may."""
    objective = make_objective(tmp_path)
    del batch[missing]
    with pytest.raises(ValueError, match=f"has no {missing}, which the term of `{weight}` needs.*set `{weight}` to 0"):
        objective.train()(**batch)
    losses = objective.eval()(**batch).losses
    expected = {
        "labels": {"loss_kd", "loss_crd", "loss_adversarial", "loss_critic"},
        "teacher_logits": {"loss_ce", "loss_crd", "loss_adversarial", "loss_critic"},
        "teacher_features": {"loss_ce", "loss_kd"},
        "sample_index": {"loss_ce", "loss_kd", "loss_adversarial", "loss_critic"},
    }[missing]
    # Evaluation images have no row, so the bank needs none.
    assert losses.keys() - {"loss_crd"} == expected - {"loss_crd"}


def test_every_parameter_has_a_gradient(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """DDP waits for all of them, also for a classifier that no term trains; that gets none that moves it."""
    weights = {"ce_weight": 0.0, "kd_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0}
    objective = make_objective(tmp_path, **weights).train()
    output = objective(**batch)
    torch.testing.assert_close(output.loss, WEIGHTS["feature"] * output.losses["loss_feature"])
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert not objective.student.classifier.classifier[-1].weight.grad.any()


def test_nothing_to_compute(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """Images alone give logits, and no loss that looks like 0."""
    output = make_objective(tmp_path).eval()(batch["pixel_values"])
    assert output.loss is None and output.losses == {} and output.logits.shape == (4, 3)


def test_missing_widths(tmp_path: Path) -> None:
    """Terms on features need a teacher, and the bank a number of images."""
    objective = make_objective(tmp_path)
    with pytest.raises(ValueError, match="no teacher was given: these terms compare features"):
        DistillationObjective(objective.student, objective.args, None, 10)
    with pytest.raises(ValueError, match="number of training images is unknown"):
        DistillationObjective(objective.student, objective.args, 7, None)


@pytest.mark.parametrize("frozen", [True, False])
def test_mode_of_batch_norm(frozen: bool, tmp_path: Path) -> None:
    """Frozen statistics must survive every call of `train()`, and only they."""
    objective = make_objective(tmp_path, freeze_batch_norm=frozen)
    for _ in range(2):
        assert objective.train() is objective
        for module in objective.modules():
            assert module.training != (frozen and isinstance(module, _BatchNorm))
    objective.eval()
    assert not any(module.training for module in objective.modules())


def test_auxiliary_state_comes_back(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """All that is not the student, and nothing of the student."""
    objective = make_objective(tmp_path).train()
    objective(**batch)
    state = {name: value.clone() for name, value in objective.auxiliary_state().items()}
    assert not any(name.startswith("student.") for name in state)
    assert state.keys() >= {"crd_labels", "crd_bank.bank.student", "crd_bank.log_normalizer.student"}
    assert state["crd_labels"].tolist() == [1, -1, -1, 1, -1, 0, -1, -1, -1, 2]
    torch.manual_seed(9)
    other = make_objective(tmp_path)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    student = {name: value.clone() for name, value in other.student.state_dict().items()}
    other.load_auxiliary_state(state)
    assert all(torch.equal(other.auxiliary_state()[name], value) for name, value in state.items())
    assert all(torch.equal(other.student.state_dict()[name], value) for name, value in student.items())
    torch.manual_seed(1)
    again = other.crd(torch.randn(2, 8), torch.randn(2, 7), torch.tensor([0, 3]), torch.tensor([1, 1]))
    torch.manual_seed(1)
    objective.load_state_dict(other.state_dict())
    assert torch.equal(
        objective.crd(torch.randn(2, 8), torch.randn(2, 7), torch.tensor([0, 3]), torch.tensor([1, 1])), again
    )


def test_wrong_auxiliary_state_changes_nothing(tmp_path: Path) -> None:
    """A state that fits in part must not be loaded in part."""
    objective = make_objective(tmp_path)
    state = {name: value.clone() for name, value in objective.auxiliary_state().items()}
    wrong = {name: value + 1 for name, value in state.items()} | {"crd_bank.bank.teacher": torch.zeros(9, 4)}
    with pytest.raises(ValueError, match=r"does not fit this run: \['crd_bank.bank.teacher'\] differ"):
        objective.load_auxiliary_state(wrong)
    torch.testing.assert_close(objective.auxiliary_state(), state, rtol=0, atol=0, equal_nan=True)
    objective.crd.set_labels(torch.arange(10) % 3)
    with pytest.raises(ValueError, match="classes of the training images differ"):
        objective.load_auxiliary_state(state)


def test_queue_needs_neither_rows_nor_their_number(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    """A queue is for data whose bank does not fit, or whose number of images is not known."""
    objective = make_objective(tmp_path, queue_length=20, per_device_train_batch_size=4)
    streamed = DistillationObjective(objective.student, objective.args, teacher_dim=7, num_samples=None).train()
    del batch["sample_index"]
    output = streamed(**batch)
    assert output.losses["loss_crd"] > 0 and streamed.crd is not None
    assert streamed.crd.negatives.labels[:4].tolist() == batch["labels"].tolist()
    with pytest.raises(ValueError, match="`queue_length` is 3, and each batch of all processes has 4 images"):
        make_objective(tmp_path, queue_length=3, per_device_train_batch_size=4)
    with pytest.raises(ValueError, match="number of training images is unknown.*give `queue_length`"):
        DistillationObjective(objective.student, make_objective(tmp_path).args, teacher_dim=7, num_samples=None)
