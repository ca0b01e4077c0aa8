"""Cross-entropy where some labels are missing."""

import pytest
import torch
import torch.nn.functional as F

from exrep_hf.losses.cross_entropy import labelled_cross_entropy

LOGITS = 2 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 4, 1, 1, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_all_labels_it_is_the_usual_one(smoothing: float) -> None:
    """Of class numbers and of shares: what a run with labels had before must not change."""
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(labelled_cross_entropy(LOGITS, LABELS, smoothing), expected)
    shares = 0.7 * F.one_hot(LABELS, 5) + 0.3 * F.one_hot(LABELS.flip(0), 5)
    expected = F.cross_entropy(LOGITS, shares, label_smoothing=smoothing)
    torch.testing.assert_close(labelled_cross_entropy(LOGITS, shares, smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_images_without_a_label_do_not_count(smoothing: float) -> None:
    """The mean is over those that have one, and no gradient comes from the others."""
    logits = LOGITS.clone().requires_grad_()
    labels = torch.where(torch.arange(6) % 3 == 1, -1, LABELS)
    loss = labelled_cross_entropy(logits, labels, smoothing)
    has = labels >= 0
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS[has], LABELS[has], label_smoothing=smoothing))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[has].abs().sum() > 0 and not gradient[~has].any()
    # The same as shares of classes, of which there are none.
    shares = F.one_hot(labels.clamp(min=0), 5) * has[:, None].float()
    torch.testing.assert_close(labelled_cross_entropy(LOGITS, shares, smoothing), loss.detach())


def test_a_mixture_counts_by_its_labelled_part() -> None:
    """Half an ant beside an image without a label counts half, as an ant; smoothing is of that half too."""
    shares = torch.tensor([[0.5, 0.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 0.0]])
    logits = LOGITS[:3, :3]
    log = F.log_softmax(logits, 1)
    half = -(0.9 * log[0, 0] + 0.1 * log[0].mean())
    whole = -(0.9 * (0.25 * log[1, 0] + 0.75 * log[1, 1]) + 0.1 * log[1].mean())
    expected = (0.5 * half + whole) / 1.5
    torch.testing.assert_close(labelled_cross_entropy(logits, shares, 0.1), expected)


def test_hardly_any_label() -> None:
    """A twentieth of a labelled image must not weigh like a batch of them, nor none of it give NaN."""
    shares = torch.zeros(6, 5)
    shares[2, 1] = 0.05
    expected = -0.05 * F.log_softmax(LOGITS, 1)[2, 1]
    torch.testing.assert_close(labelled_cross_entropy(LOGITS, shares), expected)
    for labels in (torch.full((6,), -1), torch.full((6,), -100), torch.zeros(6, 5)):
        logits = LOGITS.clone().requires_grad_()
        loss = labelled_cross_entropy(logits, labels, 0.1)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0 and not gradient.any()


def test_half_precision_is_computed_in_float32() -> None:
    loss = labelled_cross_entropy(LOGITS.bfloat16(), LABELS, 0.1)
    expected = F.cross_entropy(LOGITS.bfloat16().float(), LABELS, label_smoothing=0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
