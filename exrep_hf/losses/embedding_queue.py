"""Embeddings of the last images, where one row for each image of the training set does not fit."""

import torch
from torch import Tensor

from exrep_hf.losses.gather import process_count, process_rank
from exrep_hf.losses.memory_bank import MemoryBank


class EmbeddingQueue(MemoryBank):
    """A bank whose rows are the latest embeddings, of whatever images (as in MoCo, He et al., CVPR 2020).

    Its size does not depend on the number of images: 20 million of them need 20 GB in a bank, and a queue of 65 536
    rows 67 MB. Splitting a bank over processes would keep every image's row, but each image's negatives then lie on
    all processes, and nothing is gained with one GPU.

    Args:
        length: rows; at least one step's images of all processes.
        embedding_dim: columns.
        dtype: of the tables, float32 or bfloat16.

    Attributes:
        position: row that the next image gets, scalar int64.
    """

    position: Tensor

    def __init__(self, length: int, embedding_dim: int, dtype: torch.dtype = torch.float32) -> None:
        # What a row holds is of another image: nothing of it is kept.
        super().__init__(length, embedding_dim, momentum=0.0, dtype=dtype)
        # A tensor, so that a step does not wait for the device.
        self.position = torch.zeros((), dtype=torch.int64, device="cpu")

    @torch.no_grad()
    def take_rows(self, batch: int) -> Tensor:
        """Take the rows of a batch of this process: the oldest ones, which are others on each process.

        Returns:
            `(batch,)`, int64.
        """
        # Each process owns as many rows a step as any may have images: without a word to the others, all processes
        # agree on where the queue is. A smaller batch leaves the rest of its rows as they were.
        size = max(self.largest_batch, batch)
        rows = torch.arange(batch, device=self.position.device) + process_rank() * size + self.position  # (batch,)
        self.position.add_(process_count() * size).remainder_(len(self.student))
        return rows % len(self.student)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a checkpoint needs, by flat name; the tensors themselves, not copies."""
        return super().tensors() | {"queue.position": self.position}
