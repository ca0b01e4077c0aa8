"""The bank in a run of several processes."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from exrep_hf.losses import CRDLoss

STEPS, PROCESSES, BATCH, ROWS = 3, 2, 4, 16


def _steps() -> list[dict[str, Tensor]]:
    """The joined batches of all processes; rows repeat within a process and across processes."""
    generator = torch.Generator().manual_seed(0)
    joined = PROCESSES * BATCH
    return [
        {
            "student_features": torch.randn(joined, 5, generator=generator),
            "teacher_features": torch.randn(joined, 7, generator=generator),
            "sample_index": torch.tensor([3, 3, 1, step, 2, 3, 8, 8]),
            "negative_index": torch.randint(ROWS, (joined, 6), generator=generator),
        }
        for step in range(STEPS)
    ]


def _loss() -> CRDLoss:
    loss = CRDLoss(5, 7, num_samples=ROWS, embedding_dim=8, num_negatives=6)
    generator = torch.Generator().manual_seed(1)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return loss


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    # Processes need not share a global seed.
    torch.manual_seed(100 + rank)
    loss = _loss()
    for step in _steps():
        loss(**{name: tensor.chunk(PROCESSES)[rank] for name, tensor in step.items()})
    # A process may evaluate alone: nothing of the others is needed.
    if rank == 0:
        loss.eval()(torch.randn(2, 5), torch.randn(2, 7), None)
    torch.save(loss.bank_state(), f"{folder}/bank_{rank}.pt")
    dist.destroy_process_group()


def test_processes_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    """Tables that drift apart, or see one process's share of the batch only, still give a falling loss."""
    # Fork spares each process the import of all that the package needs; forwards alone start no threads.
    mp.start_processes(_train, args=(str(tmp_path),), nprocs=PROCESSES, start_method="fork")
    first, second = (torch.load(tmp_path / f"bank_{rank}.pt", weights_only=True) for rank in range(PROCESSES))
    single = _loss()
    start = single.bank.student.clone()
    for step in _steps():
        single(**step)
    assert first.keys() == single.bank_state().keys()
    assert not torch.equal(single.bank.student, start)
    for name, tensor in single.bank_state().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-6)
