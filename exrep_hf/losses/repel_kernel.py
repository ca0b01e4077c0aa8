"""`table_reads.repel` as one kernel, for GPUs: scores, softplus and weighted sum in one pass, nothing kept between.

Each program reads a part of an image's rows; parts are added afterwards in one order, so that results do not depend on
which program ends first. Not measured on a GPU yet: `recipes/benchmarks/crd.py --device cuda` does that.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Elements of a table that a program holds at a time: of 128 dimensions a warp reads eight rows at once, and with four
# warps that takes 32 registers of a thread, and the sum of rows as many.
_TILE_ELEMENTS = 4096
_ROWS_A_PROGRAM = 256


def repel_by_kernel(embedding: Tensor, table: Tensor, index: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `repel` does for rows of each embedding's own.

    Args:
        embedding: `(batch, dim)`, float32, divided by the temperature.
        table: `(num_samples, dim)`, any float dtype.
        index: `(batch, K)` rows of `table`, int64.
        offset: scalar, float32.

    Returns:
        `(batch,)` and `(batch, dim)`, float32.
    """
    batch, count = index.shape
    dim = table.shape[1]
    padded = triton.next_power_of_2(dim)
    tile = max(1, min(_ROWS_A_PROGRAM, _TILE_ELEMENTS // padded))
    parts = triton.cdiv(count, _ROWS_A_PROGRAM)
    sums = torch.empty(batch, parts, dtype=torch.float32, device=table.device)
    pulls = torch.empty(batch, parts, dim, dtype=torch.float32, device=table.device)
    _repel[(batch, parts)](
        embedding.contiguous(), table.contiguous(), index.contiguous(), offset, sums, pulls, count,
        ROWS=_ROWS_A_PROGRAM, TILE=tile, DIM=dim, PADDED=padded,
    )  # fmt: skip
    return sums.sum(1), pulls.sum(1)


@triton.jit
def _repel(  # type: ignore[no-untyped-def]
    embedding, table, index, offset, sums, pulls, count,
    ROWS: tl.constexpr, TILE: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    columns = tl.arange(0, PADDED)
    inside = columns < DIM
    vector = tl.load(embedding + image * DIM + columns, mask=inside, other=0.0)  # (PADDED,)
    shift = tl.load(offset)
    total = tl.zeros((TILE,), tl.float32)
    pull = tl.zeros((TILE, PADDED), tl.float32)
    for start in range(0, ROWS, TILE):
        place = part * ROWS + start + tl.arange(0, TILE)
        there = place < count
        row = tl.load(index + image * count + place, mask=there, other=0)  # (TILE,), int64
        mask = there[:, None] & inside[None, :]
        values = tl.load(table + row[:, None] * DIM + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        odds = tl.sum(values * vector[None, :], axis=1) - shift
        # Neither exponential overflows; most odds are so low that 1 + e alone would lose half of e's digits.
        e = tl.exp(-tl.abs(odds))
        one = 1.0 + e
        log1p = tl.where(one == 1.0, e, tl.log(one) * (e / tl.where(one == 1.0, 1.0, one - 1.0)))
        total += tl.where(there, tl.maximum(odds, 0.0) + log1p, 0.0)
        weight = tl.where(there, tl.where(odds >= 0.0, 1.0, e) / one, 0.0)
        # Rows are added up at the end: within the loop the warps would have to wait for each other.
        pull += weight[:, None] * values
    place = image * tl.num_programs(1) + part
    tl.store(sums + place, tl.sum(total, axis=0))
    tl.store(pulls + place * DIM + columns, tl.sum(pull, axis=0), mask=inside)
