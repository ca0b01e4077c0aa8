"""One side of contrastive representation distillation, without holding the rows of all negatives.

A direct version gathers `(batch, K, dim)` rows of the bank and keeps them for the backward pass. Here the scores are
computed a few images at a time and without a graph; as the bank is constant, the gradient of the loss with respect to
the embedding is a weighted sum of rows, computed at once and handed to autograd instead of the graph.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of gathered rows held at a time: 32 MiB in float32.
_CHUNK_ELEMENTS = 2**23
# Added to each denominator by the authors' implementation; kept for equal values.
_EPSILON = 1e-7


@torch.no_grad()
def similarities(embedding: Tensor, positive: Tensor, table: Tensor, negative_index: Tensor) -> Tensor:
    """Return the dot products of each embedding with its positive and its negatives.

    Args:
        embedding: `(batch, dim)`.
        positive: `(batch, dim)`.
        table: `(num_samples, dim)`.
        negative_index: `(batch, K)` rows of `table`.

    Returns:
        `(batch, 1 + K)`, the positive first; without a graph.
    """
    rows = max(1, _CHUNK_ELEMENTS // (negative_index.shape[1] * table.shape[1]))
    # Unlike a matrix product, vecdot stays in float32 where TF32 is switched on.
    negatives = [
        torch.linalg.vecdot(table[index], vectors.unsqueeze(1))  # (rows, K, dim) · (rows, 1, dim) to (rows, K)
        for index, vectors in zip(negative_index.split(rows), embedding.split(rows), strict=True)
    ]
    own = torch.linalg.vecdot(positive, embedding).unsqueeze(1)  # (batch, 1)
    return torch.cat([own, torch.cat(negatives)], dim=1)  # (batch, 1 + K)


def log_normalizer(scores: Tensor, num_samples: int) -> Tensor:
    """Estimate log Z from a batch, `Z = mean(exp(scores)) · num_samples`.

    Args:
        scores: `(batch, 1 + K)`, similarities divided by the temperature.
        num_samples: rows of the bank.

    Returns:
        Scalar.
    """
    # In the log domain: exp(1 / 0.07) is beyond float16, and exp(1 / 0.01) beyond float32.
    return torch.logsumexp(scores.flatten(), dim=0) + math.log(num_samples / scores.numel())


def contrastive_loss(
    embedding: Tensor, positive: Tensor, table: Tensor, negative_index: Tensor, log_odds: Tensor, temperature: float
) -> Tensor:
    """Noise-contrastive loss of one side (Tian et al. 2020, in the form of the authors' code).

    With `o = exp(score) / Z` and `c = K / num_samples`:
    `-mean over batch of [log(o⁺ / (o⁺ + c)) + Σ_j log(c / (o⁻_j + c))]`.

    Args:
        embedding: `(batch, dim)`, receives the gradient; first derivatives only.
        positive: `(batch, dim)`, a constant.
        table: `(num_samples, dim)`, a constant; may be changed in place after this call, before the backward pass.
        negative_index: `(batch, K)` rows of `table`.
        log_odds: `(batch, 1 + K)`, `similarities / temperature - log Z`.
        temperature: the one in `log_odds`.

    Returns:
        Scalar.
    """
    batch, num_negatives = negative_index.shape
    noise = num_negatives / len(table)
    with torch.no_grad():
        # log(o / (o + c)) = -softplus(-log(o / c)), and log(c / (o + c)) = -softplus(log(o / c)).
        log_odds = log_odds - math.log(noise + _EPSILON)
        positive_odds, negative_odds = log_odds[:, :1], log_odds[:, 1:]  # (batch, 1), (batch, K)
        per_image = F.softplus(-positive_odds).squeeze(1) + F.softplus(negative_odds).sum(1)  # (batch,)
        # The authors' numerator c has no epsilon: with ImageNet's 1.28 M images that adds 0.13 to each side.
        value = per_image.mean() + num_negatives * math.log1p(_EPSILON / noise)

        scale = 1 / (temperature * batch)
        attraction = -torch.sigmoid(-positive_odds) * positive  # (batch, dim)
        # Weighs and adds rows as it reads them; `table[negative_index]` would be (batch, K, dim).
        repulsion = F.embedding_bag(negative_index, table, per_sample_weights=torch.sigmoid(negative_odds), mode="sum")
        gradient = scale * (attraction + repulsion)  # (batch, dim)
    # The difference is zero, so the value is exact, and its derivative is the gradient above.
    return value + (gradient * (embedding - embedding.detach())).sum()
