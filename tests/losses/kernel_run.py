"""The Triton kernel on a CPU, by Triton's interpreter: run by `test_repel_kernel.py` with TRITON_INTERPRET=1."""

import torch
import torch.nn.functional as F

from exrep_hf.losses.repel_kernel import repel_by_kernel
from exrep_hf.losses.table_reads import repel_as_it_stands

SHAPES = [
    # Batch, negatives, rows, dim: less and more than a program's 256 negatives, a power of two and not.
    (3, 300, 50, 6, torch.float32),
    (2, 512, 1000, 128, torch.float32),
    (2, 700, 100, 128, torch.bfloat16),
    (1, 5, 7, 300, torch.float32),
]


def main() -> None:
    torch.manual_seed(0)
    for batch, negatives, rows, dim, dtype in SHAPES:
        embedding = F.normalize(torch.randn(batch, dim), dim=1) / 0.07
        table = F.normalize(torch.randn(rows, dim), dim=1).to(dtype)
        # Some odds far beyond where exponentials overflow, and some where 1 + exp(odds) is 1.
        table[0], table[1] = 10 * embedding[0], -10 * embedding[0]
        index = torch.randint(rows, (batch, negatives))
        # Not contiguous, as a slice of a larger tensor is.
        index = torch.stack([index, index], dim=2)[:, :, 0]
        for offset in (torch.tensor(7.0), torch.tensor(25.0)):
            sums, pulls = repel_by_kernel(embedding, table, index, offset)
            expected = repel_as_it_stands(embedding.double(), table.double(), index, None, offset.double(), False)
            for actual, exact in zip((sums, pulls), expected, strict=True):
                assert actual.dtype == torch.float32
                torch.testing.assert_close(actual.double(), exact, rtol=3e-6, atol=3e-6 * float(exact.abs().max()))
            # Without the huge rows, small numbers have to be right too.
            plain = index.clamp(min=2)
            sums, pulls = repel_by_kernel(embedding, table, plain, offset)
            expected = repel_as_it_stands(embedding.double(), table.double(), plain, None, offset.double(), False)
            torch.testing.assert_close(sums.double(), expected[0], rtol=1e-5, atol=0)
            torch.testing.assert_close(
                pulls.double(), expected[1], rtol=1e-5, atol=1e-5 * float(expected[1].abs().max())
            )
            again = repel_by_kernel(embedding, table, plain, offset)
            assert torch.equal(again[0], sums) and torch.equal(again[1], pulls)
    print("equal")


if __name__ == "__main__":
    main()
