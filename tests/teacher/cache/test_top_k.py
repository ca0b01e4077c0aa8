"""A few logits, and what they leave out."""

import pytest
import torch

from exrep_hf.teacher.cache.top_k import keep_top_k, rebuild_logits


def logits(num_labels: int = 200) -> torch.Tensor:
    values = 3 * torch.randn(32, num_labels, generator=torch.Generator().manual_seed(1))
    values[:, 5] += 6
    return values


@pytest.mark.parametrize("k", [1, 5, 199])
@pytest.mark.parametrize("temperature", [0.5, 2 / 3, 1.0, 4 / 3, 2.0, 8 / 3, 4.0, 8.0])
def test_exact_where_the_mass_is_stored(k: int, temperature: float) -> None:
    """At the common temperatures nothing but the order among the others is lost."""
    original = logits()
    stored = keep_top_k(original, k)
    rebuilt = rebuild_logits(**stored, num_labels=200, temperature=temperature)
    expected, found = (original / temperature).double().softmax(-1), (rebuilt / temperature).double().softmax(-1)
    kept = stored["top_classes"].long()
    torch.testing.assert_close(found.gather(1, kept), expected.gather(1, kept), rtol=1e-4, atol=1e-6)
    assert (original.topk(k).values == rebuilt.gather(1, kept)).all()
    assert torch.allclose(found.sum(-1), torch.ones(32, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.55, 0.8, 1.2, 1.7, 3.0, 5.0, 6.0, 10.0, 50.0])
def test_mass_of_the_others_at_any_temperature(temperature: float) -> None:
    """Within the stated error, which a rebuild from the mass at temperature 1 alone misses by far."""
    original = logits()
    stored = keep_top_k(original, 5)
    kept = stored["top_classes"].long()
    expected = 1 - (original / temperature).double().softmax(-1).gather(1, kept).sum(1)
    rebuilt = rebuild_logits(**stored, num_labels=200, temperature=temperature)
    found = 1 - (rebuilt / temperature).double().softmax(-1).gather(1, kept).sum(1)
    error = (found - expected).abs().max().item()
    assert error < (0.01 if temperature < 1 else 0.001)
    at_one = rebuild_logits(**stored, num_labels=200, temperature=1.0)
    naive = 1 - (at_one / temperature).double().softmax(-1).gather(1, kept).sum(1)
    assert (naive - expected).abs().max().item() > 5 * error


def test_order_of_rows_and_classes() -> None:
    stored = keep_top_k(torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 0.0, 4.0, -1.0]]), 2)
    assert stored["top_classes"].tolist() == [[1, 3], [0, 2]] and stored["top_classes"].dtype == torch.int32
    assert stored["top_logits"].tolist() == [[3.0, 2.0], [5.0, 4.0]]
    torch.testing.assert_close(stored["remainder"][:, 5], torch.tensor([[0.0, 1.0], [0.0, -1.0]]).logsumexp(-1))


def test_too_low_a_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="`temperature` is 0.4; .* from 0.5 on"):
        rebuild_logits(**keep_top_k(logits(), 5), num_labels=200, temperature=0.4)
