"""Decoupled distillation: the target class and the others apart.

Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022, https://arxiv.org/abs/2203.08679
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exrep_hf.losses.logits import HasLogits, compared_logits


class DKDLoss(nn.Module):
    """`temperature² · (alpha · TCKD + beta · NCKD)` (Zhao et al. 2022, equation 7).

    TCKD is the divergence of the two probabilities "target class" and "any other", NCKD that of the distributions
    among the others.

    Args:
        alpha: weight of the target class, ≥ 0.
        beta: weight of the other classes, ≥ 0.
        temperature: softens both predictions, > 0.

    Raises:
        ValueError: for a value outside its range.
    """

    needs = ("teacher_logits", "labels")

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        if not temperature > 0 or not alpha >= 0 or not beta >= 0:
            raise ValueError(
                f"DKD has alpha {alpha}, beta {beta} and temperature {temperature}; expected weights ≥ 0 and a "
                "temperature > 0. Leave them out for 1, 8 and 4."
            )
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(
        self, student: HasLogits | Tensor, teacher: HasLogits | Tensor, batch: Mapping[str, Tensor] | Tensor
    ) -> Tensor:
        """Compare a batch of predictions.

        Args:
            student: its output, or its logits `(batch, num_labels)`.
            teacher: the same; no gradient goes back to it.
            batch: with `labels`, or these themselves: `(batch,)` classes, below 0 where they are not known; of mixed
                images their shares `(batch, num_labels)`, of which the largest is the target; none where all are 0.

        Returns:
            Scalar ≥ 0, averaged over the batch, computed in float32.

        Raises:
            ValueError: if logits or labels are not of the same images.
        """
        own, other = compared_logits(student, teacher)
        labels = batch if isinstance(batch, Tensor) else batch["labels"]
        if labels.shape not in (own.shape, own.shape[:1]):
            raise ValueError(
                f"DKD labels have the shape {tuple(labels.shape)}, and logits {tuple(own.shape)}; expected a class "
                "an image, or its shares of these classes."
            )
        target = labels.long() if labels.ndim == 1 else labels.argmax(-1).where(labels.sum(-1) > 0, -1)
        # An image without a label has the teacher's own answer as its target.
        target = torch.where(target < 0, other.argmax(-1), target)
        (own_pair, own_others), (other_pair, other_others) = (
            _decoupled(logits / self.temperature, target) for logits in (own, other)
        )
        tckd = F.kl_div(own_pair, other_pair, reduction="batchmean", log_target=True)
        nckd = F.kl_div(own_others, other_others, reduction="batchmean", log_target=True)
        return (self.alpha * tckd + self.beta * nckd) * self.temperature**2


def _decoupled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the target and all else, `(batch, 2)`, and those among all else, `(batch, classes - 1)`."""
    places = torch.arange(logits.shape[-1] - 1, device=logits.device)
    others = logits.gather(-1, places + (places >= target[:, None]))
    pair = torch.cat([logits.gather(-1, target[:, None]), others.logsumexp(-1, keepdim=True)], dim=-1)
    return pair.log_softmax(-1), others.log_softmax(-1)
