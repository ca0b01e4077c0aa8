"""Images for benchmarks that are not about images."""

from typing import Any

import torch
from torch.utils.data import Dataset


class RandomImages(Dataset):
    """As many rows as asked for, of 64 random images that are in memory, with classes in turn.

    Args:
        count: rows.
        size: height and width.
        classes: how many there are.
    """

    def __init__(self, count: int, size: int, classes: int = 10) -> None:
        self.images = torch.randn(64, 3, size, size)
        self.count, self.classes = count, classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image, class and row."""
        return {"pixel_values": self.images[index % 64], "labels": index % self.classes, "sample_index": index}
