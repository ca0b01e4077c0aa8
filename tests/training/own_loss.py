"""A user's own terms."""

from typing import Any

import torch
from torch import Tensor, nn


class Regression(nn.Module):
    """The teacher's features from the student's, by a layer of its own, which starts at random."""

    needs = ("teacher_features",)

    steps: Tensor

    def __init__(self, student_dim: int = 8, teacher_dim: int = 12) -> None:
        super().__init__()
        self.layer = nn.Linear(student_dim, teacher_dim)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, student: Any, teacher: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean square, and count."""
        if self.training:
            self.steps.add_(1)
        return nn.functional.mse_loss(self.layer(student.features.float()), teacher.features)


class TwoParts(nn.Module):
    """Two values of the images and the labels alone."""

    needs = ("labels",)

    def forward(self, student: Any, teacher: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return both by name."""
        return {"bright": batch["pixel_values"].mean(), "sharp": student.logits.square().mean()}


class Wrong(nn.Module):
    """A value an image."""

    needs = ()

    def forward(self, student: Any, teacher: Any, batch: dict[str, Tensor]) -> Tensor:
        """Forget the mean."""
        return student.logits.square().mean(-1)


NO_CLASS = 3
