"""Relations of predictions, against correlations computed one by one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from exrep_hf.losses import DISTLoss
from exrep_hf.models import StudentOutput
from exrep_hf.outputs import TeacherOutput


def plain(student: Tensor, teacher: Tensor, beta: float, gamma: float, temperature: float) -> float:
    """Huang et al. 2022, with NumPy's own correlation of each pair of vectors."""
    own, other = ((logits.double() / temperature).softmax(1).numpy() for logits in (student, teacher))
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(own, other, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(own.T, other.T, strict=True)])
    return temperature**2 * (beta * inter + gamma * intra)


@pytest.mark.parametrize(("beta", "gamma", "temperature"), [(1.0, 1.0, 1.0), (2.0, 0.5, 4.0), (0.0, 3.0, 1.0)])
def test_value(beta: float, gamma: float, temperature: float) -> None:
    """Relations within the image and within the class must not be taken for each other."""
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(6, 5), 2 * torch.randn(6, 5)
    loss = DISTLoss(beta, gamma, temperature)
    expected = plain(student, teacher, beta, gamma, temperature)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)
    given = loss(StudentOutput(logits=student), TeacherOutput(logits=teacher), {})
    assert torch.equal(given, loss(student, teacher))


def test_equal_predictions_cost_nothing() -> None:
    """A shift of all logits changes no prediction; the opposite order is as far as it gets."""
    torch.manual_seed(0)
    logits = torch.randn(4, 3)
    assert DISTLoss()(logits + 5, logits).item() == pytest.approx(0, abs=1e-6)
    two = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert DISTLoss(beta=2.0, gamma=1.0)(two, two.flip(1)).item() == pytest.approx(2 * 2 + 2 * 1, rel=1e-5)


def test_gradient_and_precision() -> None:
    """The teacher follows nobody, and half precision is computed in float32."""
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    DISTLoss()(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None and student.grad.abs().sum() > 0
    assert DISTLoss()(student.bfloat16(), teacher.bfloat16()).dtype == torch.float32
    # One image alone has no relations within a class, and a gradient all the same.
    alone = torch.randn(1, 3, requires_grad=True)
    DISTLoss()(alone, torch.randn(1, 3)).backward()
    assert alone.grad is not None and alone.grad.isfinite().all()


def test_bad_input() -> None:
    """Broadcast logits would give a plausible number."""
    with pytest.raises(ValueError, match=r"same \(batch, classes\), got \(2, 3\) and \(1, 3\)"):
        DISTLoss()(torch.randn(2, 3), torch.randn(1, 3))
    with pytest.raises(ValueError, match="The teacher has no logits"):
        DISTLoss()(StudentOutput(logits=torch.randn(2, 3)), TeacherOutput())
    for settings in ({"beta": -1.0}, {"gamma": float("nan")}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="expected weights ≥ 0 and a temperature > 0"):
            DISTLoss(**settings)
