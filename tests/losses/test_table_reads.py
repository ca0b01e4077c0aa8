"""The operators that read tables: what a GPU and a compiler see of them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode

from exrep_hf.losses import CRDLoss
from exrep_hf.losses.table_reads import repel, repel_as_it_stands, scores


@pytest.mark.parametrize("for_all", [False, True])
@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_on_a_device_nothing_is_waited_for(for_all: bool) -> None:
    """Within the operator the guards of the whole step see nothing."""
    with FakeTensorMode(), torch.device("cuda"):
        table, embedding, offset = torch.randn(1000, 8), torch.randn(4, 8), torch.zeros(())
        index = torch.zeros(16 if for_all else (4, 16), dtype=torch.long)
        own = torch.zeros(4, 16, dtype=torch.bool) if for_all else None
        sums, pulls = repel_as_it_stands(embedding, table, index, own, offset, False)
        assert (sums.shape, pulls.shape, sums.device.type) == ((4,), (4, 8), "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("for_all", [False, True])
def test_operators_keep_their_promises(for_all: bool, dtype: torch.dtype) -> None:
    """A compiler believes what they say of shapes, strides and aliases."""
    torch.manual_seed(0)
    table, embedding, offset = torch.randn(30, 8).to(dtype), torch.randn(4, 8), torch.tensor(0.5)
    index = torch.randint(30, (16,) if for_all else (4, 16))
    own = torch.rand(4, 16) < 0.3 if for_all else None
    torch.library.opcheck(repel, (embedding, table, index, own, offset, False))
    torch.library.opcheck(scores, (embedding, table, index))
    torch.library.opcheck(repel, (torch.randn(8, 4).T, table, index, own, offset, False))


def test_a_float32_score_is_one_where_the_run_rounds_products(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, table = F.normalize(torch.randn(4, 64), dim=1), F.normalize(torch.randn(30, 64), dim=1)
    seen: list[str] = []
    bmm = torch.bmm

    def watched(first: Tensor, second: Tensor) -> Tensor:
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return bmm(first, second)

    monkeypatch.setattr(torch, "bmm", watched)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        repel_as_it_stands(embedding, table, torch.randint(30, (4, 5)), None, torch.tensor(0.0), False)
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["ieee"] * 2


@pytest.mark.parametrize("share", [False, True])
def test_a_compiled_step_is_the_eager_one(share: bool) -> None:
    """The first step estimates Z, the others don't: by one graph, as compiling a network twice takes minutes."""
    batches = [(torch.randn(4, 5), torch.randn(4, 7), torch.tensor([step, 3, 9, 12])) for step in range(3)]
    labels = torch.arange(20) % 3
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        loss = CRDLoss(5, 7, 20, embedding_dim=8, num_negatives=6, share_negatives=share)
        loss.set_labels(labels)
        # Checks of values on a CPU are where a graph ends: a GPU has none.
        loss._check_range = lambda name, index: None  # type: ignore[method-assign]
        run: Any = torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss
        counters.clear()
        values = []
        for number, (student, teacher, rows) in enumerate(batches):
            torch.manual_seed(number)
            values.append(run(student, teacher, rows))
            values[-1].backward()
        assert loss.student_embedding.weight.grad is not None
        assert not compiled or counters["stats"]["unique_graphs"] == 1
        found.append([torch.stack(values), loss.student_embedding.weight.grad, loss.bank.student, loss.bank.teacher])
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(other, eager)
