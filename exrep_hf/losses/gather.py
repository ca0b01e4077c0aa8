"""Batches of all processes, joined."""

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Count the processes of the default group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the place of this process among them."""
    return dist.get_rank() if process_count() > 1 else 0


def gather_batches(tensor: Tensor, largest_batch: int) -> Tensor:
    """Concatenate `(batch, ...)` of all processes in rank order; `tensor` itself in a run of one process.

    Sizes are not exchanged, which would make the host wait for the device: each process sends `largest_batch` rows.
    A smaller batch is filled up by repeating its last row.

    Args:
        tensor: `(batch, ...)`, not empty.
        largest_batch: rows to send, the same on all processes; 0 where batches are of one size anyway.

    Returns:
        `(processes · largest_batch, ...)`.
    """
    processes = process_count()
    if processes == 1:
        return tensor
    if len(tensor) < largest_batch:
        # The last row and no other: of equal indices the last one counts, which is then still the same image.
        filled = torch.arange(largest_batch, device=tensor.device).clamp(max=len(tensor) - 1)  # 0, 1, … n-1, n-1, …
        tensor = tensor[filled]  # (largest_batch, ...)
    # Into one tensor: `all_gather` fills a list, which would have to be copied together.
    gathered = tensor.new_empty((processes * len(tensor), *tensor.shape[1:]))
    dist.all_gather_into_tensor(gathered, tensor.contiguous())
    return gathered
