"""Distillation from a stronger teacher: relations in place of values.

Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
https://arxiv.org/abs/2205.10536
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from exrep_hf.losses.logits import HasLogits, compared_logits


class DISTLoss(nn.Module):
    """`beta · inter + gamma · intra`: Pearson distances of predictions, within each image and within each class.

    The distance of two vectors is `1 − ρ`, with Pearson's correlation ρ (Huang et al. 2022, section 3): of the classes
    of an image, averaged over the batch, and of the images of a class, averaged over the classes. Both, as in the
    authors' code, times `temperature²`.

    Args:
        beta: weight of the relation within an image ("inter-class"), ≥ 0.
        gamma: weight of the relation within a class ("intra-class"), ≥ 0.
        temperature: softens both predictions, > 0.

    Raises:
        ValueError: for a value outside its range.
    """

    needs = ("teacher_logits",)

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0 or not beta >= 0 or not gamma >= 0:
            raise ValueError(
                f"DIST has beta {beta}, gamma {gamma} and temperature {temperature}; expected weights ≥ 0 and a "
                "temperature > 0. Leave them out for 1, 1 and 1."
            )
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(
        self, student: HasLogits | Tensor, teacher: HasLogits | Tensor, batch: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Compare a batch of predictions.

        Args:
            student: its output, or its logits `(batch, num_labels)`.
            teacher: the same; no gradient goes back to it.
            batch: not looked at.

        Returns:
            Scalar in [0, 2·(beta + gamma)·temperature²], computed in float32.

        Raises:
            ValueError: if the two are not of the same shape.
        """
        own, other = compared_logits(student, teacher)
        own, other = (logits.div(self.temperature).softmax(-1) for logits in (own, other))  # (batch, num_labels)
        inter, intra = pearson_distance(own, other), pearson_distance(own.T, other.T)
        return (self.beta * inter + self.gamma * intra) * self.temperature**2


def pearson_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean over rows of `1 − ρ`.

    Args:
        first: `(rows, n)`.
        second: `(rows, n)`.
    """
    own, other = (each - each.mean(-1, keepdim=True) for each in (first, second))
    return 1 - F.cosine_similarity(own, other, dim=-1).mean()
