"""One side of CRD against a slow version in plain autograd."""

import pytest
import torch
from torch import Tensor

from exrep_hf.losses import contrast
from exrep_hf.losses.contrast import contrastive_loss, log_normalizer, similarities

TEMPERATURE = 0.2


def _inputs(batch: int = 5, negatives: int = 40, rows: int = 30, dim: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    table = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)
    embedding = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    index = torch.randint(rows, (batch, negatives), generator=generator)
    return torch.nn.functional.normalize(embedding, dim=1), table, index


def _loss(embedding: Tensor, table: Tensor, index: Tensor, log_z: float = 2.0) -> Tensor:
    positive = table[: len(embedding)]
    odds = similarities(embedding, positive, table, index) / TEMPERATURE - log_z
    return contrastive_loss(embedding, positive, table, index, odds, TEMPERATURE)


def _slow_loss(embedding: Tensor, table: Tensor, index: Tensor, log_z: float = 2.0) -> Tensor:
    rows = torch.cat([table[: len(embedding)].unsqueeze(1), table[index]], dim=1)
    out = torch.exp((rows * embedding.unsqueeze(1)).sum(2) / TEMPERATURE - log_z)
    noise = index.shape[1] / len(table)
    attract = torch.log(out[:, 0] / (out[:, 0] + noise + 1e-7))
    repel = torch.log(noise / (out[:, 1:] + noise + 1e-7)).sum(1)
    return -(attract + repel).mean()


def test_equals_plain_autograd() -> None:
    """A gradient written by hand can be a little wrong for long without being seen."""
    embedding, table, index = _inputs()
    fast, slow = embedding.clone().requires_grad_(), embedding.clone().requires_grad_()
    fast_loss, slow_loss = _loss(fast, table, index), _slow_loss(slow, table, index)
    (3 * fast_loss).backward()
    (3 * slow_loss).backward()
    torch.testing.assert_close(fast_loss, slow_loss, rtol=1e-12, atol=0)
    assert fast.grad is not None
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-13)


def test_gradient_survives_a_change_of_the_table() -> None:
    """The bank moves in the same forward: a graph that looked at it again would use the wrong rows."""
    embedding, table, index = _inputs()
    slow = embedding.clone().requires_grad_()
    _slow_loss(slow, table, index).backward()
    fast = embedding.clone().requires_grad_()
    loss = _loss(fast, table, index)
    table.zero_()
    loss.backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("elements", [1, 6 * 40 * 2, 10**9])
def test_chunks_do_not_show(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last, shorter chunk is easily lost or counted twice."""
    embedding, table, index = _inputs()
    monkeypatch.setattr(contrast, "_CHUNK_ELEMENTS", elements)
    rows = torch.cat([table[: len(embedding)].unsqueeze(1), table[index]], dim=1)
    expected = torch.einsum("bkd,bd->bk", rows, embedding)
    torch.testing.assert_close(similarities(embedding, table[: len(embedding)], table, index), expected)


def test_log_normalizer() -> None:
    """Z by exp overflows where its logarithm is an ordinary number."""
    scores = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(log_normalizer(scores, 50).exp(), scores.exp().mean() * 50)
    torch.testing.assert_close(log_normalizer(scores + 1e4, 50), log_normalizer(scores, 50) + 1e4)


def test_saved_for_backward_has_no_negative_rows() -> None:
    """Keeping the rows of the negatives costs gigabytes at the published settings, and nothing tells."""
    embedding, table, index = _inputs(batch=8, negatives=500, dim=16)
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _slow_loss(embedding.clone().requires_grad_(), table, index)
        assert max(saved) >= 8 * 500 * 16
        saved.clear()
        _loss(embedding.clone().requires_grad_(), table, index)
    assert saved and sum(saved) <= 4 * 8 * 16
