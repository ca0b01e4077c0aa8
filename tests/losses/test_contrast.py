"""One side of CRD against a slow version in plain autograd."""

import pytest
import torch
from torch import Tensor

from exrep_hf.losses import table_reads
from exrep_hf.losses.contrast import Negatives, contrastive_loss, log_normalizer

TEMPERATURE = 0.2


def _inputs(batch: int = 5, negatives: int = 40, rows: int = 30, dim: int = 6) -> tuple[Tensor, Tensor, Negatives]:
    generator = torch.Generator().manual_seed(0)
    table = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)
    embedding = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    index = torch.randint(rows, (batch, negatives), generator=generator)
    return torch.nn.functional.normalize(embedding, dim=1), table, Negatives(index)


def _for_all(negatives: Negatives) -> Negatives:
    """Rows for all images, of which each image has another share."""
    index = negatives.index[0]
    return Negatives(index, index < 5 + 3 * torch.arange(len(negatives.index)).unsqueeze(1))


def _loss(embedding: Tensor, table: Tensor, negatives: Negatives, log_z: float = 2.0) -> Tensor:
    positive = table[: len(embedding)]
    return contrastive_loss(embedding, positive, table, negatives, torch.tensor(log_z).double(), TEMPERATURE)


def _slow_loss(embedding: Tensor, table: Tensor, negatives: Negatives, log_z: float = 2.0) -> Tensor:
    index = negatives.index.expand(len(embedding), -1)
    rows = torch.cat([table[: len(embedding)].unsqueeze(1), table[index]], dim=1)
    out = torch.exp((rows * embedding.unsqueeze(1)).sum(2) / TEMPERATURE - log_z)
    noise = index.shape[1] / len(table)
    attract = torch.log(out[:, 0] / (out[:, 0] + noise + 1e-7))
    repel = torch.log(noise / (out[:, 1:] + noise + 1e-7))
    if negatives.own is None:
        return -(attract + repel.sum(1)).mean()
    means = torch.stack([line[~own].mean() for line, own in zip(repel, negatives.own, strict=True)])
    return -(attract + index.shape[1] * means).mean()


@pytest.mark.parametrize("for_all", [False, True])
def test_equals_plain_autograd(for_all: bool) -> None:
    """A gradient written by hand can be a little wrong for long without being seen."""
    embedding, table, negatives = _inputs()
    if for_all:
        negatives = _for_all(negatives)
    fast, slow = embedding.clone().requires_grad_(), embedding.clone().requires_grad_()
    fast_loss, slow_loss = _loss(fast, table, negatives), _slow_loss(slow, table, negatives)
    (3 * fast_loss).backward()
    (3 * slow_loss).backward()
    # The numerator's missing epsilon is counted for every draw, and here some are left out.
    torch.testing.assert_close(fast_loss, slow_loss, rtol=1e-12, atol=0)
    assert fast.grad is not None
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("for_all", [False, True])
def test_gradient_survives_a_change_of_the_table(for_all: bool) -> None:
    """The bank moves in the same forward: a graph that looked at it again would use the wrong rows."""
    embedding, table, negatives = _inputs()
    if for_all:
        negatives = _for_all(negatives)
    slow = embedding.clone().requires_grad_()
    _slow_loss(slow, table, negatives).backward()
    fast = embedding.clone().requires_grad_()
    loss = _loss(fast, table, negatives)
    table.zero_()
    loss.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("elements", [1, 6 * 7, 6 * 40 * 2, 10**9])
def test_chunks_do_not_show(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last, shorter chunk, of images or of their negatives, is easily lost or counted twice."""
    embedding, table, negatives = _inputs()
    monkeypatch.setattr(table_reads, "_CPU_ELEMENTS", elements)
    expected = torch.einsum("bkd,bd->bk", table[negatives.index], embedding)
    torch.testing.assert_close(table_reads.scores(embedding, table, negatives.index), expected)
    sums, pulls = table_reads.repel(embedding, table, negatives.index, None, torch.tensor(0.5).double(), False)
    torch.testing.assert_close(sums, torch.nn.functional.softplus(expected - 0.5).sum(1))
    torch.testing.assert_close(
        pulls, torch.einsum("bk,bkd->bd", torch.sigmoid(expected - 0.5), table[negatives.index])
    )


@pytest.mark.parametrize("for_all", [False, True])
def test_log_normalizer(for_all: bool) -> None:
    """Z by exp overflows where its logarithm is an ordinary number."""
    embedding, table, negatives = _inputs()
    positive = table[: len(embedding)]
    own = ((embedding * positive).sum(1) / TEMPERATURE).exp()
    if for_all:
        negatives = _for_all(negatives)
        assert negatives.own is not None
        others = (embedding @ table[negatives.index].T / TEMPERATURE).exp()
        means = torch.stack([line[~hidden].mean() for line, hidden in zip(others, negatives.own, strict=True)])
    else:
        means = (torch.einsum("bkd,bd->bk", table[negatives.index], embedding) / TEMPERATURE).exp().mean(1)
    expected = ((own + 40 * means) / 41).mean() * len(table)
    torch.testing.assert_close(log_normalizer(embedding, positive, table, negatives, TEMPERATURE).exp(), expected)
    assert log_normalizer(embedding, embedding, embedding, Negatives(torch.zeros(5, 1).long()), 1e-4).isfinite()


def test_an_image_without_negatives_is_only_attracted() -> None:
    """Where all rows for a batch are of one image's class, K over none of them must not become of consequence."""
    embedding, table, negatives = _inputs()
    shared = Negatives(negatives.index[0], torch.zeros(5, 40, dtype=torch.bool))
    assert shared.own is not None
    shared.own[2] = True
    fast = embedding.clone().requires_grad_()
    _loss(fast, table, shared).backward()
    odds = (table[2] @ embedding[2]) / TEMPERATURE - 2.0 - torch.log(torch.tensor(40 / 30 + 1e-7).double())
    assert fast.grad is not None
    torch.testing.assert_close(fast.grad[2], -torch.sigmoid(-odds) * table[2] / (TEMPERATURE * 5))
    assert log_normalizer(embedding, table[:5], table, shared, TEMPERATURE).isfinite()


def test_saved_for_backward_has_no_negative_rows() -> None:
    """Keeping the rows of the negatives costs gigabytes at the published settings, and nothing tells."""
    embedding, table, negatives = _inputs(batch=8, negatives=500, dim=16)
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _slow_loss(embedding.clone().requires_grad_(), table, negatives)
        assert max(saved) >= 8 * 500 * 16
        saved.clear()
        _loss(embedding.clone().requires_grad_(), table, negatives)
    assert saved and sum(saved) <= 4 * 8 * 16
