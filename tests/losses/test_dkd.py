"""The target class and the others, against the formulas with plain probabilities."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.losses import DKDLoss, KDLoss
from exrep_hf.models import StudentOutput
from exrep_hf.outputs import TeacherOutput


def plain(student: Tensor, teacher: Tensor, labels: list[int], alpha: float, beta: float, temperature: float) -> float:
    """Zhao et al. 2022, equations 5 to 7, image by image."""
    total = 0.0
    for own, other, target in zip(student.double(), teacher.double(), labels, strict=True):
        p, q = (other / temperature).softmax(0), (own / temperature).softmax(0)
        tckd = sum(a * math.log(a / b) for a, b in ((p[target], q[target]), (1 - p[target], 1 - q[target])))
        rest = [number for number in range(len(p)) if number != target]
        hat_p, hat_q = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
        nckd = sum(a * math.log(a / b) for a, b in zip(hat_p.tolist(), hat_q.tolist(), strict=True))
        total += float(alpha * tckd + beta * nckd)
    return temperature**2 * total / len(labels)


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (1.0, 0.5, 1.0), (0.0, 2.0, 2.0)])
def test_value(alpha: float, beta: float, temperature: float) -> None:
    """Weights of the wrong part, or a wrong direction, would still train."""
    torch.manual_seed(0)
    student, teacher, labels = 2 * torch.randn(5, 6), 2 * torch.randn(5, 6), torch.tensor([0, 5, 2, 2, 3])
    loss = DKDLoss(alpha, beta, temperature)
    expected = plain(student, teacher, labels.tolist(), alpha, beta, temperature)
    assert loss(student, teacher, labels).item() == pytest.approx(expected, rel=1e-5)
    batch = {"labels": labels}
    assert torch.equal(
        loss(StudentOutput(logits=student), TeacherOutput(logits=teacher), batch), loss(student, teacher, labels)
    )


def test_both_parts_make_plain_distillation() -> None:
    """KL = TCKD + (1 − p_target) · NCKD (equation 6): with that weight the two losses are one."""
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(1, 7), torch.randn(1, 7), torch.tensor([4])
    others = 1 - (teacher / 2).softmax(1)[0, 4].item()
    together = DKDLoss(1.0, others, temperature=2.0)(student, teacher, labels)
    torch.testing.assert_close(together, KDLoss(2.0)(student, teacher))


def test_labels_of_mixed_images_and_missing_ones() -> None:
    """The larger share is the target; an image without a label has the teacher's answer."""
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([3, 0, 1])
    shares = 0.6 * F.one_hot(labels, 4) + 0.4 * F.one_hot(labels.roll(1), 4)
    loss = DKDLoss()
    assert torch.equal(loss(student, teacher, shares), loss(student, teacher, labels))
    unknown = torch.tensor([3, -1, 1])
    told = torch.stack([labels[0], teacher[1].argmax(), labels[2]])
    assert torch.equal(loss(student, teacher, unknown), loss(student, teacher, told))
    shares[1] = 0
    assert torch.equal(loss(student, teacher, shares), loss(student, teacher, told))


def test_gradient_and_precision() -> None:
    """The teacher follows nobody; a prediction that is as good as certain has a finite gradient."""
    student, teacher = torch.tensor([[400.0, 0.0, -9.0]], requires_grad=True), torch.randn(1, 3, requires_grad=True)
    loss = DKDLoss(temperature=1.0)(student, teacher, torch.tensor([0]))
    loss.backward()
    assert teacher.grad is None and student.grad is not None and student.grad.isfinite().all()
    assert loss.isfinite() and student.grad.abs().sum() > 0
    assert DKDLoss()(student.bfloat16(), teacher.bfloat16(), torch.tensor([0])).dtype == torch.float32


def test_bad_input() -> None:
    """Labels of other images would be broadcast."""
    with pytest.raises(ValueError, match=r"DKD labels have the shape \(1,\), and logits \(2, 3\)"):
        DKDLoss()(torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"same \(batch, classes\)"):
        DKDLoss()(torch.randn(2, 3), torch.randn(2, 4), torch.tensor([1, 1]))
    for settings in ({"alpha": -1.0}, {"beta": float("nan")}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="expected weights ≥ 0 and a temperature > 0"):
            DKDLoss(**settings)
