"""The one-backward adversarial game against two separate optimizers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exrep_hf.losses import AdversarialLoss
from exrep_hf.losses.adversarial import Critic


def _features(student_dim: int, teacher_dim: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(6, student_dim, dtype=dtype), torch.randn(6, teacher_dim, dtype=dtype) + 1


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_equals_two_optimizers(weight: float) -> None:
    """An incomplete cancellation would train the critic to like the student's features, only a little slower."""
    torch.manual_seed(0)
    student, (inputs, real) = nn.Linear(5, 4).double(), _features(5, 7)
    loss = AdversarialLoss(4, 7, hidden_dim=8).double()
    reference_student, reference = copy.deepcopy(student), copy.deepcopy(loss)

    one = torch.optim.SGD([*student.parameters(), *loss.parameters()], lr=0.5)
    for _ in range(3):
        adversarial, critic = loss(student(inputs), real)
        one.zero_grad()
        (weight * adversarial + 0.3 * critic).backward()
        one.step()

    generator = torch.optim.SGD([*reference_student.parameters(), *reference.projection.parameters()], lr=0.5)
    critic_optimizer = torch.optim.SGD(reference.critic.parameters(), lr=0.5)
    for _ in range(3):
        fake = reference.projection(reference_student(inputs))
        scores = reference.critic(fake)
        generator.zero_grad()
        (weight * F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))).backward()
        critic_optimizer.zero_grad()
        real_scores, fake_scores = reference.critic(real), reference.critic(fake.detach())
        on_real = F.binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
        on_fake = F.binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores))
        (0.3 * (on_real + on_fake)).backward()
        generator.step()
        critic_optimizer.step()

    ours = [*student.parameters(), *loss.parameters()]
    theirs = [*reference_student.parameters(), *reference.parameters()]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-13)


def test_each_term_moves_its_own_side_alone() -> None:
    """One side trained by the other's gradient plays against itself, and no loss curve shows it."""
    student, real = _features(4, 7)
    student.requires_grad_()
    real.requires_grad_()
    loss = AdversarialLoss(4, 7, hidden_dim=8).double()
    adversarial, critic = loss(student, real)

    adversarial.backward(retain_graph=True)
    for parameter in loss.critic.parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, torch.zeros_like(parameter), rtol=0, atol=1e-16)
    on_student = [student.grad, *(p.grad for p in loss.projection.parameters())]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in on_student)

    student.grad = None
    loss.zero_grad()
    critic.backward()
    untouched = [student.grad, *(p.grad for p in loss.projection.parameters())]
    assert all(gradient is None or not gradient.any() for gradient in untouched)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.critic.parameters())
    assert real.grad is None, "the teacher is not a player"


def test_critic_against_a_plain_computation() -> None:
    """Two hidden layers with the slope 0.2 of the paper's discriminators: another slope is another game."""
    critic = Critic(4, hidden_dim=6).double()
    features, _ = _features(4, 4)
    hidden = features
    weights = critic.state_dict()
    for place in (0, 2):
        hidden = hidden @ weights[f"layers.{place}.weight"].T + weights[f"layers.{place}.bias"]
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    expected = (hidden @ weights["layers.4.weight"].T + weights["layers.4.bias"])[:, 0]
    torch.testing.assert_close(critic(features), expected)


def test_values() -> None:
    """The correction that carries the gradient must not change the number that is logged."""
    student, real = _features(4, 7)
    loss = AdversarialLoss(4, 7, hidden_dim=8).double()
    adversarial, critic = loss(student, real)
    fake_scores, real_scores = loss.critic(loss.projection(student)), loss.critic(real)
    torch.testing.assert_close(adversarial, F.softplus(-fake_scores).mean())
    torch.testing.assert_close(critic, F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean())

    for parameter in loss.critic.parameters():
        nn.init.zeros_(parameter)
    adversarial, critic = loss(student, real)
    assert adversarial.item() == pytest.approx(math.log(2), rel=1e-12)
    assert critic.item() == pytest.approx(2 * math.log(2), rel=1e-12)


def test_no_projection_between_equal_widths() -> None:
    """A needless projection could do the student's work for it and be thrown away after training."""
    assert isinstance(AdversarialLoss(4, 4).projection, nn.Identity)
    projection = AdversarialLoss(4, 7).projection
    assert isinstance(projection, nn.Linear) and projection.bias is not None
    assert projection.weight.shape == (7, 4)
    student, real = _features(4, 4)
    adversarial, _ = AdversarialLoss(4, 4, hidden_dim=8).double()(student.requires_grad_(), real)
    adversarial.backward()
    assert student.grad is not None and student.grad.abs().sum() > 0


def test_rows_do_not_see_each_other() -> None:
    """Batch statistics or dropout in the critic would break the equality with two optimizers."""
    student, real = _features(4, 4)
    loss = AdversarialLoss(4, 4, hidden_dim=8).double()
    whole = torch.stack(loss(student, real))
    halves = [torch.stack(loss(student[part], real[part])) for part in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2, rtol=1e-13, atol=1e-14)


def test_float32_under_autocast() -> None:
    """In bfloat16 the correction and its copy would be rounded apart."""
    student, real = _features(4, 7, torch.bfloat16)
    loss = AdversarialLoss(4, 7, hidden_dim=8)
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(student, real)
    exact = copy.deepcopy(loss).double()(student.double(), real.double())
    for a, b in zip(low, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-6, atol=0)
