"""Mean and deviation of pixels as networks get them, batch by batch."""

import torch
from torch import Tensor


class PixelMoments:
    """What is known of one set of pixels."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: Tensor | None = None
        self._squares: Tensor | None = None
        self.sizes: set[tuple[int, int]] = set()

    def add(self, images: Tensor) -> None:
        """Take note of normalised images, `(batch, channels, height, width)`."""
        values = images.detach().float().transpose(0, 1).flatten(1)
        variances, means = (each.double().cpu() for each in torch.var_mean(values, dim=1, correction=0))
        sums, squares = means * values.shape[1], (variances + means.square()) * values.shape[1]
        self._sums = sums if self._sums is None else self._sums + sums
        self._squares = squares if self._squares is None else self._squares + squares
        self._count += values.shape[1]
        self.sizes.add((images.shape[-2], images.shape[-1]))

    @property
    def mean(self) -> Tensor:
        """Of each channel, `(channels,)`."""
        assert self._sums is not None
        return self._sums / self._count

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each channel, `(channels,)`."""
        assert self._squares is not None
        return torch.sqrt((self._squares / self._count - self.mean.square()).clamp(min=0))
