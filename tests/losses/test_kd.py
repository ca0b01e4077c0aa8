"""Values, scale and dtype of the distillation loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from exrep_hf.losses import KDLoss


def test_value_of_two_classes() -> None:
    """A wrong direction of the divergence, a missing τ² or a mean over classes would still train."""
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3.0), 0.0]])
    # At temperature 2 the teacher says (3/4, 1/4), the student (1/2, 1/2).
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert KDLoss(temperature=2.0)(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_mean_over_the_batch() -> None:
    """A sum over the batch would tie the weight of the term to the batch size."""
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    loss = KDLoss()
    rows = [loss(s.unsqueeze(0), t.unsqueeze(0)) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(loss(student, teacher), torch.stack(rows).mean())


def test_gradient_keeps_its_scale_at_high_temperature() -> None:
    """Without τ² the term would fade out as the temperature rises (limit: matching of centred logits / classes)."""
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 6, requires_grad=True), torch.randn(1, 6)
    KDLoss(temperature=1e3)(student, teacher).backward()
    difference = (student - teacher).detach()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (difference - difference.mean()) / 6, rtol=5e-3, atol=1e-3)


def test_half_precision_is_computed_in_float32() -> None:
    """In bfloat16 the divergence of equal predictions comes out negative or far from its value."""
    torch.manual_seed(0)
    student, teacher = (10 * torch.randn(8, 1000)).bfloat16(), (10 * torch.randn(8, 1000)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = KDLoss()(student, teacher)
    s, t = F.log_softmax(student.double() / 4, 1), F.log_softmax(teacher.double() / 4, 1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(16 * (t.exp() * (t - s)).sum(1).mean().item(), rel=1e-5)


def test_teacher_gets_no_gradient() -> None:
    """A teacher that follows the student would make the loss fall without anything learned."""
    student, teacher = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    KDLoss()(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None and student.grad.abs().sum() > 0


def test_bad_input() -> None:
    """A temperature of 0 gives NaN, and broadcast logits a plausible number."""
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be > 0"):
            KDLoss(temperature)
    with pytest.raises(ValueError, match=r"same .*classes.*\(2, 10\).*\(2, 1\)"):
        KDLoss()(torch.zeros(2, 10), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="same .*classes"):
        KDLoss()(torch.zeros(2, 10), torch.zeros(1, 10))
