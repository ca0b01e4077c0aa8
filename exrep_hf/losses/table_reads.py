"""What a contrast reads of a table: scores of its rows, and sums of rows weighted by what their scores say.

Rows are read a few at a time and never kept: `(batch, K, dim)` of them would be gigabytes. Both functions are
operators, which `torch.compile` takes as they are: a loop, written out, would be thousands of nodes.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from exrep_hf.losses.full_precision import full_precision

# Elements of rows held at a time: 1 MiB in float32 stays in the caches of a core, where it is read twice;
_CPU_ELEMENTS = 2**18
# 32 MiB stay in that of a large GPU, and are enough for it.
_DEVICE_ELEMENTS = 2**23


@torch.library.custom_op("exrep_hf::scores", mutates_args=())
def scores(embedding: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Return the dot products of each embedding with rows of a table; without a graph.

    Args:
        embedding: `(batch, dim)`.
        table: `(num_samples, dim)`, any float dtype.
        index: `(batch, K)` rows of each embedding's own, or `(K,)` rows for all of them.

    Returns:
        `(batch, K)`, of the embedding's dtype.
    """
    with full_precision():
        if index.ndim == 1:
            return embedding @ _rows(table, index).to(embedding.dtype).T
        result = embedding.new_empty(index.shape)
        for images, negatives in _chunks(index, table.shape[1]):
            rows = _rows(table, index[images, negatives]).to(embedding.dtype)  # (images, negatives, dim)
            result[images, negatives] = _products(embedding[images], rows)
        return result


@scores.register_fake
def _(embedding: Tensor, table: Tensor, index: Tensor) -> Tensor:
    return embedding.new_empty(len(embedding), index.shape[-1])


@torch.library.custom_op("exrep_hf::repel", mutates_args=())
def repel(
    embedding: Tensor, table: Tensor, index: Tensor, own: Tensor | None, offset: Tensor, kernel: bool
) -> tuple[Tensor, Tensor]:
    """Return what negatives add to the loss, and the sum of rows that is its gradient: each row is read once.

    With log-odds `x = embedding · row - offset`: the sums of `softplus(x)` and of `sigmoid(x) · row`. No graph.

    Args:
        embedding: `(batch, dim)`, divided by the temperature.
        table: `(num_samples, dim)`, any float dtype.
        index: `(batch, K)` rows of each embedding's own, or `(K,)` rows for all of them.
        own: `(batch, K)`, True where a row is none of this embedding's negatives; with `(K,)` rows alone.
        offset: scalar.
        kernel: compute rows of each embedding's own by the Triton kernel, on devices that have it.

    Returns:
        `(batch,)` and `(batch, dim)`, of the embedding's dtype.
    """
    return repel_as_it_stands(embedding, table, index, own, offset, kernel)


@repel.register_fake
def _(
    embedding: Tensor, table: Tensor, index: Tensor, own: Tensor | None, offset: Tensor, kernel: bool
) -> tuple[Tensor, Tensor]:
    return embedding.new_empty(len(embedding)), embedding.new_empty(embedding.shape)


def repel_as_it_stands(
    embedding: Tensor, table: Tensor, index: Tensor, own: Tensor | None, offset: Tensor, kernel: bool
) -> tuple[Tensor, Tensor]:
    """`repel`, not as an operator: whatever watches single operations sees them."""
    if index.ndim == 1:
        return _repel_from_all(embedding, table, index, own, offset)
    if kernel and table.is_cuda:
        # Triton is not everywhere, and takes its time to be imported.
        from exrep_hf.losses.repel_kernel import repel_by_kernel

        return repel_by_kernel(embedding, table, index, offset)
    sums, pulls = embedding.new_zeros(len(embedding)), embedding.new_zeros(embedding.shape)
    with full_precision():
        for images, negatives in _chunks(index, table.shape[1]):
            rows = _rows(table, index[images, negatives]).to(embedding.dtype)  # (images, negatives, dim)
            odds = _products(embedding[images], rows).sub_(offset)  # (images, negatives)
            sums[images] += F.softplus(odds).sum(1)
            pulls[images] += torch.bmm(odds.sigmoid_().unsqueeze(1), rows).squeeze(1)
    return sums, pulls


def _repel_from_all(
    embedding: Tensor, table: Tensor, index: Tensor, own: Tensor | None, offset: Tensor
) -> tuple[Tensor, Tensor]:
    rows = _rows(table, index).to(embedding.dtype)  # (K, dim)
    with full_precision():
        odds = (embedding @ rows.T).sub_(offset)  # (batch, K)
        if own is not None:
            odds.masked_fill_(own, -torch.inf)
        sums = F.softplus(odds).sum(1)
        return sums, odds.sigmoid_() @ rows


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table, `(*index.shape, dim)`, in its dtype."""
    flat = index.flatten()
    if table.device.type == "cpu" and table.dtype == torch.float32:
        # Sums of one row each: unlike index_select it fetches rows ahead, and takes two thirds of the time.
        rows = F.embedding_bag(flat, table, torch.arange(len(flat)), mode="sum")
    else:
        rows = table.index_select(0, flat)
    return rows.view(*index.shape, -1)


def _products(embedding: Tensor, rows: Tensor) -> Tensor:
    """`(images, dim)` times `(images, negatives, dim)`, to `(images, negatives)`."""
    # The embedding first: the other way round a CPU takes six times as long.
    return torch.bmm(embedding.unsqueeze(1), rows.mT).squeeze(1)


def _chunks(index: Tensor, dim: int) -> Iterator[tuple[slice, slice]]:
    """Cut `(batch, K)` into blocks of images and of negatives."""
    batch, count = index.shape
    # Each thread has a cache of its own.
    elements = _CPU_ELEMENTS * torch.get_num_threads() if index.device.type == "cpu" else _DEVICE_ELEMENTS
    width = min(count, max(1, elements // dim))
    images = max(1, elements // (width * dim))
    for image in range(0, batch, images):
        for negative in range(0, count, width):
            yield slice(image, image + images), slice(negative, negative + width)
