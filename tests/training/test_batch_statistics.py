"""BatchNorm's statistics are those of the first process."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from exrep_hf.training.distributed import broadcast_batch_statistics


def _module(rank: int) -> nn.Module:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))
    # As a term of the user's may gather something over batches, such as a mean.
    module.register_buffer("centre", torch.zeros(2))
    for number, buffer in enumerate(module.buffers()):
        buffer.fill_(10 * rank + number)
    module[1].eval()
    return module


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    module = _module(rank)
    broadcast_batch_statistics(module)
    torch.save(module.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_statistics_are_those_of_the_first(tmp_path: Path) -> None:
    """Frozen layers are left alone: they cost nothing, and are equal already in a run."""
    mp.start_processes(_work, args=(str(tmp_path),), nprocs=2, start_method="fork")
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(states[1]["centre"], states[0]["centre"])
    for name in ("running_mean", "running_var"):
        assert torch.equal(states[1][f"0.{name}"], states[0][f"0.{name}"])
        assert torch.equal(states[1][f"1.{name}"], _module(1).state_dict()[f"1.{name}"])
        # Each has memory of its own, or safetensors would not save them.
        assert states[1][f"0.{name}"].untyped_storage().nbytes() == 12
