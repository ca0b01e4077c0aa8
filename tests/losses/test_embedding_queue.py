"""A queue instead of a bank."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from exrep_hf.losses import CRDLoss
from exrep_hf.losses.embedding_queue import EmbeddingQueue

LENGTH, DIM, K = 10, 4, 6


def _loss(**changes: Any) -> CRDLoss:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "num_samples": 1000,
        "embedding_dim": DIM,
        "num_negatives": K,
        "queue_length": LENGTH,
    } | changes
    return CRDLoss(5, 7, **settings)


def test_rows_are_taken_in_turn() -> None:
    queue = EmbeddingQueue(LENGTH, DIM)
    assert queue.take_rows(4).tolist() == [0, 1, 2, 3]
    assert queue.take_rows(4).tolist() == [4, 5, 6, 7]
    assert queue.take_rows(4).tolist() == [8, 9, 0, 1]
    assert queue.take_rows(2).tolist() == [2, 3]


def test_rows_of_unequal_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller batch must not shift the rows of other processes, nor move the queue by less than theirs do."""
    queues = [EmbeddingQueue(30, DIM) for _ in range(3)]
    monkeypatch.setattr("exrep_hf.losses.embedding_queue.process_count", lambda: 3)
    taken = []
    for sizes in ((4, 2, 3), (1, 4, 4)):
        for rank, (queue, size) in enumerate(zip(queues, sizes, strict=True)):
            monkeypatch.setattr("exrep_hf.losses.embedding_queue.process_rank", lambda rank=rank: rank)
            queue.largest_batch = 4
            taken.append(queue.take_rows(size).tolist())
    assert taken == [[0, 1, 2, 3], [4, 5], [8, 9, 10], [12], [16, 17, 18, 19], [20, 21, 22, 23]]
    assert [queue.position.item() for queue in queues] == [24, 24, 24]


def test_queue_holds_the_latest_embeddings() -> None:
    """The image's own place among 1000 is of no consequence: only its turn is."""
    loss = _loss()
    for step in range(3):
        student, teacher = torch.randn(4, 5), torch.randn(4, 7)
        loss(student, teacher, torch.tensor([997, 3, 3, 500]), labels=torch.tensor([0, 1, 1, step]))
    rows = [8, 9, 0, 1]
    with torch.no_grad():
        expected = (
            F.normalize(loss.student_embedding(student), dim=1),
            F.normalize(loss.teacher_embedding(teacher), dim=1),
        )
    torch.testing.assert_close(loss.bank.student[rows], expected[0])
    torch.testing.assert_close(loss.bank.teacher[rows], expected[1])
    assert loss.negatives.labels.tolist() == [1, 2, 1, 0, 0, 1, 1, 1, 0, 1]


def test_loss_equals_a_plain_computation() -> None:
    loss = _loss()
    student, teacher = torch.randn(3, 5), torch.randn(3, 7)
    negatives = torch.randint(LENGTH, (3, K))
    tables = loss.bank.student.clone(), loss.bank.teacher.clone()
    value = loss(student, teacher, None, negative_index=negatives)
    with torch.no_grad():
        own = [
            F.normalize(loss.student_embedding(student), dim=1),
            F.normalize(loss.teacher_embedding(teacher), dim=1),
        ]
    expected = torch.zeros(())
    for side in (0, 1):
        scores = torch.cat(
            [
                (own[side] * own[1 - side]).sum(1, keepdim=True),
                (tables[1 - side][negatives] * own[side][:, None]).sum(2),
            ],
            1,
        )
        odds = (scores / 0.07).exp()
        odds = odds / (odds.mean() * LENGTH)
        noise = K / LENGTH
        expected -= (odds[:, 0] / (odds[:, 0] + noise + 1e-7)).log().mean()
        expected -= (noise / (odds[:, 1:] + noise + 1e-7)).log().sum(1).mean()
    assert value.item() == pytest.approx(float(expected), rel=1e-4)


def test_negatives_are_of_other_classes() -> None:
    loss = _loss()
    labels = torch.tensor([0, 0, 1, 1, 2])
    for _ in range(2):
        loss(torch.randn(5, 5), torch.randn(5, 7), None, labels=labels)
    drawn = loss.negatives.draw(None, torch.tensor([0, 1]), 2, 500)
    classes = loss.negatives.labels[drawn]
    assert set(classes[0].tolist()) == {1, 2} and set(classes[1].tolist()) == {0, 2}


def test_gradient_reaches_both_embeddings() -> None:
    loss = _loss()
    student = torch.randn(3, 5, requires_grad=True)
    loss(student, torch.randn(3, 7), None).backward()
    for gradient in (student.grad, loss.student_embedding.weight.grad, loss.teacher_embedding.weight.grad):
        assert gradient is not None and gradient.abs().sum() > 0


def test_state_comes_back() -> None:
    """A queue that starts at row 0 again overwrites its newest rows and keeps the oldest."""
    loss, other = _loss(), _loss()
    for _ in range(2):
        loss(torch.randn(3, 5), torch.randn(3, 7), None)
    other.load_bank_state({name: tensor.clone() for name, tensor in loss.bank_state().items()})
    bank = other.bank
    assert isinstance(bank, EmbeddingQueue) and bank.take_rows(2).tolist() == [6, 7]
    with pytest.raises(ValueError, match="A CRD bank holds"):
        CRDLoss(5, 7, num_samples=LENGTH, embedding_dim=DIM).load_bank_state(loss.bank_state())


def test_evaluation_moves_nothing() -> None:
    loss = _loss().eval()
    before = {name: tensor.clone() for name, tensor in loss.bank_state().items()}
    assert bool(loss(torch.randn(3, 5), torch.randn(3, 7), None).isfinite())
    assert all(
        torch.equal(tensor.nan_to_num(), before[name].nan_to_num()) for name, tensor in loss.bank_state().items()
    )


def test_bad_length() -> None:
    with pytest.raises(ValueError, match="queue_length must be ≥ 2, got 1"):
        _loss(queue_length=1)
