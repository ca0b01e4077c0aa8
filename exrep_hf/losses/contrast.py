"""One side of contrastive representation distillation, without holding the rows of all negatives.

A direct version gathers `(batch, K, dim)` rows of the bank and keeps them for the backward pass. As the bank is
constant, the gradient of the loss with respect to the embedding is a weighted sum of rows: it is computed in the same
pass over the rows as the loss, and handed to autograd instead of a graph.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.losses.table_reads import repel, scores

# Added to each denominator by the authors' implementation; kept for equal values.
_EPSILON = 1e-7


@dataclass(frozen=True)
class Negatives:
    """Rows of a bank that a batch is contrasted with.

    Attributes:
        index: `(batch, K)` rows of each image's own, or `(K,)` rows for all images.
        own: `(batch, K)`, True where a row for all is none of this image's negatives; None: nowhere.
    """

    index: Tensor
    own: Tensor | None = None

    @property
    def count(self) -> int:
        """K, the number of rows drawn for an image."""
        return self.index.shape[-1]

    @property
    def parts(self) -> tuple[Tensor, Tensor | None]:
        """Both tensors: what an operator takes."""
        return self.index, self.own

    def share(self, dtype: torch.dtype) -> Tensor | float:
        """K over the negatives among an image's rows, `(batch,)`: those that it has count for those it lacks.

        Given that there is one, what is left of uniform draws is uniform over an image's negatives: K times the mean
        of any function over it has the expectation of the sum over K draws of the image's own.
        """
        if self.own is None:
            return 1.0
        return self.count / (~self.own).sum(1, dtype=dtype).clamp(min=1)


@torch.no_grad()
def log_normalizer(
    embedding: Tensor, positive: Tensor, table: Tensor, negatives: Negatives, temperature: float
) -> Tensor:
    """Estimate log Z from a batch: `Z = mean(exp(similarity / temperature)) · num_samples`.

    Args:
        embedding: `(batch, dim)`.
        positive: `(batch, dim)`.
        table: `(num_samples, dim)`.
        negatives: of this batch.
        temperature: divides the similarities.

    Returns:
        Scalar.
    """
    # Unlike a matrix product, vecdot stays in float32 where TF32 is switched on.
    own = torch.linalg.vecdot(positive, embedding) / temperature  # (batch,)
    others = scores(embedding, table, negatives.index) / temperature  # (batch, K)
    if negatives.own is not None:
        share = torch.as_tensor(negatives.share(others.dtype)).log().unsqueeze(1)
        others = (others + share).masked_fill(negatives.own, -torch.inf)
    # In the log domain: exp(1 / 0.07) is beyond float16, and exp(1 / 0.01) beyond float32.
    together = torch.logsumexp(torch.cat([own, others.flatten()]), dim=0)
    return together + math.log(len(table) / (len(embedding) * (1 + negatives.count)))


@torch.library.custom_op("exrep_hf::log_normalizer_unless", mutates_args=())
def log_normalizer_unless(
    known: Tensor,
    stored: Tensor,
    embedding: Tensor,
    positive: Tensor,
    table: Tensor,
    index: Tensor,
    own: Tensor | None,
    temperature: float,
) -> Tensor:
    """Return a stored log Z if it is known, else `log_normalizer` of this batch; scalar.

    An operator: whether it is known is looked at when it runs, and not when a step is compiled.

    Args:
        known: scalar bool on the CPU, so that nothing is waited for.
        stored: scalar.
        embedding: as of `log_normalizer`.
        positive: as there.
        table: as there.
        index: of the negatives of this batch.
        own: of these negatives.
        temperature: as there.
    """
    return stored.clone() if known else log_normalizer(embedding, positive, table, Negatives(index, own), temperature)


@log_normalizer_unless.register_fake
def _(known: Tensor, stored: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(stored)


def contrastive_loss(
    embedding: Tensor,
    positive: Tensor,
    table: Tensor,
    negatives: Negatives,
    log_z: Tensor,
    temperature: float,
    kernel: bool = False,
) -> Tensor:
    """Noise-contrastive loss of one side (Tian et al. 2020, in the form of the authors' code).

    With `o = exp(similarity / temperature) / Z` and `c = K / num_samples`:
    `-mean over batch of [log(o⁺ / (o⁺ + c)) + Σ_j log(c / (o⁻_j + c))]`; where rows are for all images, each
    image's sum is over those that are its negatives, times `negatives.share`.

    Args:
        embedding: `(batch, dim)`, receives the gradient; first derivatives only.
        positive: `(batch, dim)`, a constant.
        table: `(num_samples, dim)`, a constant; may be changed in place after this call, before the backward pass.
        negatives: of this batch.
        log_z: logarithm of Z, scalar.
        temperature: divides the similarities.
        kernel: let the Triton kernel read the rows, on devices that have it.

    Returns:
        Scalar.
    """
    noise = negatives.count / len(table)
    with torch.no_grad():
        # log(o / (o + c)) = -softplus(-log(o / c)), and log(c / (o + c)) = -softplus(log(o / c)).
        offset = log_z + math.log(noise + _EPSILON)
        scaled = embedding / temperature
        positive_odds = torch.linalg.vecdot(positive, scaled) - offset  # (batch,)
        sums, pulls = repel(scaled, table, negatives.index, negatives.own, offset, kernel)  # (batch,), (batch, dim)
        share = negatives.share(embedding.dtype)
        # The authors' numerator c has no epsilon: with ImageNet's 1.28 M images that adds 0.13 to each side.
        value = (F.softplus(-positive_odds) + share * sums).mean() + negatives.count * math.log1p(_EPSILON / noise)
        if isinstance(share, Tensor):
            pulls = pulls * share.unsqueeze(1)
        attraction = torch.sigmoid(-positive_odds).unsqueeze(1) * positive  # (batch, dim)
        gradient = (pulls - attraction) / (temperature * len(embedding))  # (batch, dim)
    # The difference is zero, so the value is exact, and its derivative is the gradient above.
    return value + (gradient * (embedding - embedding.detach())).sum()
