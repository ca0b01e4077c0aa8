"""The term on features against a plain formula, its limits, and what it must not be given."""

import math

import pytest
import torch
from torch import Tensor, nn

from exrep_hf.losses import FeatureLoss

STUDENT, TEACHER, BATCH = 5, 7, 6


@pytest.fixture
def loss() -> FeatureLoss:
    torch.manual_seed(0)
    return FeatureLoss(STUDENT, TEACHER)


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([1.0, 10, 0.1, 3, 1, 1, 50])
    return torch.randn(BATCH, STUDENT, generator=generator), torch.randn(BATCH, TEACHER, generator=generator) * scale


def plain(predicted: Tensor, wanted: Tensor) -> float:
    """Cosine and Huber's loss, one number at a time."""
    total = 0.0
    for own, other in zip(predicted.tolist(), wanted.tolist(), strict=True):
        norms = math.sqrt(sum(x * x for x in own)) * math.sqrt(sum(y * y for y in other))
        cosine = sum(x * y for x, y in zip(own, other, strict=True)) / norms
        gaps = [abs(x - y) for x, y in zip(own, other, strict=True)]
        smooth = sum(0.5 * gap * gap if gap < 1 else gap - 0.5 for gap in gaps) / len(gaps)
        total += 0.5 * (1 - cosine) + 0.5 * smooth
    return total / len(predicted)


def test_value(loss: FeatureLoss, features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features
    mean, deviation = teacher.mean(0), teacher.std(0)
    loss.set_statistics(mean, deviation)
    wanted = (teacher - mean) / deviation
    assert float(loss(student, teacher)) == pytest.approx(plain(loss.projector(student), wanted), rel=1e-5)


def test_no_dimension_decides_alone(loss: FeatureLoss, features: tuple[Tensor, Tensor]) -> None:
    """Scaling and moving a teacher's dimensions changes nothing once they are standardised."""
    student, teacher = features
    loss.set_statistics(teacher.mean(0), teacher.std(0))
    before = loss(student, teacher)
    other = teacher * torch.linspace(0.5, 20, TEACHER) + 3
    loss.set_statistics(other.mean(0), other.std(0))
    torch.testing.assert_close(loss(student, other), before, rtol=1e-4, atol=1e-5)


def test_limits(loss: FeatureLoss, features: tuple[Tensor, Tensor]) -> None:
    """0 for what was predicted exactly; 1 and half the length for its opposite."""
    student, _ = features
    predicted = loss.projector(student).detach()
    assert float(loss(student, predicted)) == pytest.approx(0, abs=1e-6)
    far = -100 * predicted
    gap = (predicted - far).abs()
    smooth = torch.where(gap < 1, 0.5 * gap.square(), gap - 0.5).mean()
    assert float(loss(student, far)) == pytest.approx(1 + 0.5 * float(smooth), rel=1e-5)


def test_gradients(loss: FeatureLoss) -> None:
    """They are those of finite differences, and none goes to the teacher."""
    loss.double().set_statistics(torch.ones(TEACHER).double(), 2 * torch.ones(TEACHER).double())
    student = torch.randn(3, STUDENT, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, TEACHER, dtype=torch.float64, requires_grad=True)
    # The loss is computed in float32, which bounds what differences can tell.
    assert torch.autograd.gradcheck(lambda rows: loss(rows, teacher), (student,), eps=1e-2, atol=2e-3)
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None and student.grad.abs().sum() > 0
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in loss.projector.parameters())


def test_it_can_be_learned(loss: FeatureLoss) -> None:
    """A linear relation between features is found."""
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(64, STUDENT, generator=generator)
    student = nn.functional.layer_norm(student, (STUDENT,))
    teacher = student @ torch.randn(STUDENT, TEACHER, generator=generator) + 5
    loss.set_statistics(teacher.mean(0), teacher.std(0))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    first = float(loss(student, teacher))
    for _ in range(200):
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    assert float(loss(student, teacher)) < 0.01 < 0.5 < first


def test_hidden_layer() -> None:
    layers = FeatureLoss(STUDENT, TEACHER, hidden_dim=11).projector
    assert [type(layer).__name__ for layer in layers] == ["LayerNorm", "Linear", "GELU", "Linear"]
    assert (layers[1].weight.shape, layers[3].weight.shape) == ((11, STUDENT), (TEACHER, 11))


def test_half_precision(loss: FeatureLoss, features: tuple[Tensor, Tensor]) -> None:
    """Under autocast, and with features that come in half precision, the value is float32's up to their rounding."""
    student, teacher = features
    loss.set_statistics(teacher.mean(0), teacher.std(0))
    exact = loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student.bfloat16(), teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("deviation", [torch.zeros(TEACHER), torch.tensor([0.0] + [1.0] * 6)])
def test_dimensions_without_deviation(loss: FeatureLoss, features: tuple[Tensor, Tensor], deviation: Tensor) -> None:
    """A dead unit of a teacher is 0 for every image, and must not divide by it."""
    student, teacher = features
    loss.set_statistics(torch.zeros(TEACHER), deviation)
    assert loss(student, teacher).isfinite()
    assert (loss.deviation > 0).all()


def test_bad_input(loss: FeatureLoss, features: tuple[Tensor, Tensor]) -> None:
    student, teacher = features
    with pytest.raises(ValueError, match=r"features have the shape \(6, 6\); expected \(batch, 7\)"):
        loss(student, teacher[:, 1:])
    with pytest.raises(ValueError, match=r"`mean`.*\(6,\).*expected \(7,\) finite values"):
        loss.set_statistics(torch.zeros(6), torch.ones(7))
    with pytest.raises(ValueError, match="`deviation`.*finite: False"):
        loss.set_statistics(torch.zeros(7), torch.full((7,), math.nan))
    assert not loss.is_standardised
