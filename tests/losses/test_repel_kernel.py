"""The Triton kernel against the plain reading of rows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from exrep_hf.losses import CRDLoss, crd
from exrep_hf.losses.table_reads import repel

ROOT = Path(__file__).parents[2]


def test_equals_the_plain_reading() -> None:
    """Without a GPU Triton interprets the kernel, for which it has to be imported in a process of its own."""
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kernel_run.py"))],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == "equal", run.stderr


def test_elsewhere_rows_are_read_plainly() -> None:
    """A setting that a CPU can't follow must not change what a CPU computes, or fail at the first step."""
    embedding, table, index = torch.randn(2, 4), torch.randn(9, 4), torch.randint(9, (2, 5))
    plain, asked = (repel(embedding, table, index, None, torch.tensor(0.5), kernel) for kernel in (False, True))
    assert torch.equal(plain[0], asked[0]) and torch.equal(plain[1], asked[1])


def test_triton_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crd, "find_spec", lambda name: None)
    CRDLoss(5, 7, 20)
    with pytest.raises(ValueError, match="kernel is True, and triton is not installed; install it"):
        CRDLoss(5, 7, 20, kernel=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    torch.manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(64, 128, device="cuda"), dim=1) / 0.07
    table = torch.nn.functional.normalize(torch.randn(10_000, 128, device="cuda"), dim=1)
    index = torch.randint(10_000, (64, 4096), device="cuda")
    offset = torch.tensor(8.0, device="cuda")
    expected = repel(embedding.double(), table.double(), index, None, offset.double(), False)
    for kernel in (False, True):
        for actual, exact in zip(repel(embedding, table, index, None, offset, kernel), expected, strict=True):
            torch.testing.assert_close(actual.double(), exact, rtol=1e-4, atol=1e-5 * float(exact.abs().max()))
