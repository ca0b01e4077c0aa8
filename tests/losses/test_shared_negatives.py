"""Rows that all images of a batch have in common, against rows of each image's own."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor

from exrep_hf.losses import CRDLoss
from exrep_hf.losses.contrast import Negatives, contrastive_loss
from exrep_hf.losses.negatives import NegativeSampler

# Three classes of unequal size, interleaved, with a gap in the numbering.
LABELS = torch.tensor([0, 5, 0, 2, 2, 0, 5, 2, 2, 2, 0, 2])


def _registered(labels: Tensor = LABELS) -> NegativeSampler:
    sampler = NegativeSampler(len(labels))
    sampler.register(labels)
    return sampler


def test_negatives_of_each_image_are_uniform_over_other_classes() -> None:
    """A row of the own class that is not left out, or another that is, shows in no loss curve."""
    torch.manual_seed(0)
    rows = torch.arange(12)
    for labels in (None, LABELS):
        drawn, own = _registered().draw_for_all(rows, labels, 12, 30_000)
        assert drawn.shape == (30_000,) and own is not None and own.shape == (12, 30_000)
        for row, hidden in enumerate(own):
            counts = torch.bincount(drawn[~hidden], minlength=12)
            other = LABELS != LABELS[row]
            assert counts[~other].sum() == 0 and counts.sum() == (LABELS[drawn] != LABELS[row]).sum()
            assert chisquare(counts[other].numpy()).pvalue > 1e-4, row


def test_whose_rows_are_left_out() -> None:
    torch.manual_seed(0)
    # Without classes, and of unknown class, an image's own row alone.
    drawn, own = NegativeSampler(6).draw_for_all(torch.tensor([4, 1]), None, 2, 50)
    assert (
        own is not None
        and torch.equal(own, drawn == torch.tensor([[4], [1]]))
        and set(drawn.tolist()) == set(range(6))
    )
    partly = torch.where(LABELS == 5, -1, LABELS)
    drawn, own = _registered(partly).draw_for_all(torch.tensor([1, 3]), None, 2, 200)
    assert own is not None and torch.equal(own[0], drawn == 1) and torch.equal(own[1], partly[drawn] == 2)
    # An image without a row has its class, or nothing, to leave out.
    drawn, own = _registered().draw_for_all(None, torch.tensor([2, -1]), 2, 200)
    assert own is not None and torch.equal(own[0], LABELS[drawn] == 2) and not own[1].any()
    assert NegativeSampler(6).draw_for_all(None, None, 2, 50)[1] is None
    # Labels that were never registered are learned.
    sampler = NegativeSampler(4)
    drawn, own = sampler.draw_for_all(torch.tensor([0, 1, 2]), torch.tensor([7, 8, 7]), 3, 100)
    assert sampler.labels.tolist() == [7, 8, 7, -1]
    assert own is not None and torch.equal(own[0], (drawn == 0) | (drawn == 2)) and torch.equal(own[1], drawn == 1)


@pytest.mark.parametrize("shared", [False, True])
def test_loss_and_gradient_have_the_exact_expectation(shared: bool) -> None:
    """Weighed by the number of draws instead of the negatives among them, images of large classes would repel less."""
    torch.manual_seed(0)
    batch, count, temperature, log_z, repeats = 4, 6, 0.3, torch.tensor(1.5), 2000
    table = F.normalize(torch.randn(12, 5), dim=1)
    rows = torch.tensor([0, 1, 3, 5])
    embedding = F.normalize(torch.randn(batch, 5), dim=1).requires_grad_()
    sampler = _registered()
    losses, gradients = [], []
    for _ in range(repeats):
        if shared:
            negatives = Negatives(*sampler.draw_for_all(rows, None, batch, count))
        else:
            negatives = Negatives(sampler.draw(rows, None, batch, count))
        loss = contrastive_loss(embedding, table[rows], table, negatives, log_z, temperature)
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, embedding)[0])
    noise = count / 12
    out = torch.exp(embedding @ table.T / temperature - log_z)
    own = out[torch.arange(batch), rows]
    others = torch.log(noise / (out + noise)) * (LABELS[rows].unsqueeze(1) != LABELS)
    mean = others.sum(1) / (LABELS[rows].unsqueeze(1) != LABELS).sum(1)
    # With 6 draws, an image whose class has 5 of 12 rows has no negative in (5 / 12)^6 = 0.5 % of the draws.
    if shared:
        sizes = (LABELS[rows].unsqueeze(1) == LABELS).sum(1)
        mean = mean * (1 - (sizes / 12) ** count)
    expected = -(torch.log(own / (own + noise)) + count * mean).mean()
    error = torch.stack(losses).std() / repeats**0.5
    assert abs(torch.stack(losses).mean() - expected.detach()) < 4 * error < 0.03 * expected
    gradient = torch.autograd.grad(expected, embedding)[0]
    deviation = (torch.stack(gradients).mean(0) - gradient) / (torch.stack(gradients).std(0) / repeats**0.5)
    assert deviation.abs().max() < 4.5
    # Leaving classes in would be seen.
    wrong = -(torch.log(own / (own + noise)) + count * torch.log(noise / (out + noise)).mean(1)).mean()
    assert abs(wrong - expected) > 8 * error


def _loss(**changes: Any) -> CRDLoss:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"num_samples": 20, "embedding_dim": 8, "num_negatives": 50, "share_negatives": True}
    return CRDLoss(5, 7, **settings | changes)


@pytest.mark.parametrize("queue_length", [None, 16])
def test_steps_of_a_bank_and_of_a_queue(queue_length: int | None) -> None:
    """Both embeddings get the gradient that plain autograd gives, and the tables move as they do without sharing."""
    loss, other = _loss(queue_length=queue_length), _loss(queue_length=queue_length, share_negatives=False)
    labels, rows = torch.tensor([0, 1, 1, 2]), torch.tensor([3, 9, 11, 0])
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        student = torch.randn(4, 5, generator=generator, requires_grad=True)
        teacher = torch.randn(4, 7, generator=generator)
        tables, known = (loss.bank.teacher.clone(), loss.bank.student.clone()), loss.negatives.labels.clone()
        normalizers = loss.normalizer_student.clone(), loss.normalizer_teacher.clone()
        torch.manual_seed(7)
        value = loss(student, teacher, rows, labels=labels)
        gradient = torch.autograd.grad(value, student)[0]
        torch.manual_seed(7)
        drawn = torch.randint(len(tables[0]), (50,))
        if queue_length is None:
            known[rows] = labels
        other_class = known[drawn] != labels.unsqueeze(1)
        assert not other_class.all() or (step == 0 and queue_length is not None)
        expected = torch.zeros(())
        embedded = F.normalize(loss.student_embedding(student)), F.normalize(loss.teacher_embedding(teacher))
        positives = (tables[0][rows], tables[1][rows]) if queue_length is None else (embedded[1], embedded[0])
        for vectors, positive, table, z in zip(embedded, positives, tables, normalizers, strict=True):
            own = torch.exp((vectors * positive.detach()).sum(1) / 0.07)
            out = torch.exp(vectors @ table[drawn].T / 0.07)
            share = 50 / other_class.sum(1)
            if step == 0:
                z = (own + share * (out * other_class).sum(1)).mean().detach() / 51 * len(table)
            noise = 50 / len(table)
            attract = torch.log(own / z / (own / z + noise))
            repel = share * (torch.log(noise / (out / z + noise)) * other_class).sum(1)
            expected = expected - (attract + repel).mean()
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, student)[0], rtol=1e-3, atol=1e-5)
        other(student, teacher, rows, labels=labels)
        assert torch.equal(loss.bank.student, other.bank.student)
        assert torch.equal(loss.negatives.labels, other.negatives.labels)


def test_negatives_that_are_given_are_taken() -> None:
    loss, other = _loss(), _loss(share_negatives=False)
    student, teacher, index = torch.randn(4, 5), torch.randn(4, 7), torch.randint(20, (4, 6))
    values = [each(student, teacher, torch.arange(4), negative_index=index) for each in (loss, other)]
    assert torch.equal(*values)


def test_classes_are_not_put_in_order() -> None:
    """A sort of all rows at every step, which nothing looks at, would be most of a step with a large bank."""
    loss = _loss()
    loss.set_labels(torch.arange(20) % 3)
    loss(torch.randn(4, 5), torch.randn(4, 7), torch.arange(4))
    assert loss.negatives._order is None and loss.negatives.registered
