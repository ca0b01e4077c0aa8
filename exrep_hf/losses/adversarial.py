"""The adversarial term of ExRep: a critic tells the teacher's features from the student's.

Jeon et al., "Compensating for the Lack of Extra Training Data by Learning Extra Representation", ACCV 2020,
https://doi.org/10.1007/978-3-030-69544-6_32
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Critic(nn.Module):
    """Score of features: high for the teacher's (real), low for the student's (fake).

    Holds neither batch normalisation nor dropout: `AdversarialLoss` needs scores that depend on one row alone.

    Args:
        dim: width of the features.
        hidden_dim: width of both hidden layers.
    """

    def __init__(self, dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Score features `(batch, dim)`: logits `(batch,)` of being the teacher's."""
        return self.layers(features).squeeze(-1)  # (batch, 1) to (batch,)


class AdversarialLoss(nn.Module):
    """Both sides of the adversarial game from one critic forward, for one backward pass and one optimizer.

    The critic scores `[teacher, student without gradient, student]`. The adversarial term subtracts from itself its
    own copy on the second part: that changes no value and cancels the term's gradient on the critic, so the sum of
    both terms trains like two optimizers that step at the same time. (That equality needs the critic to be outside
    any gradient clipping shared with the student.)

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features; the critic works in this space.
        hidden_dim: width of the critic's hidden layers.

    Attributes:
        projection: student features to the teacher's width, trained with the student; identity where widths are equal.
        critic: the `Critic`, trained by the critic term alone.
    """

    def __init__(self, student_dim: int, teacher_dim: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.projection = nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim)
        self.critic = Critic(teacher_dim, hidden_dim)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        """Return both terms for a batch.

        Args:
            student_features: `(batch, student_dim)`.
            teacher_features: `(batch, teacher_dim)`; no gradient goes back to them.

        Returns:
            Two scalars, computed in float32 also under autocast, averaged over the batch: the adversarial term
            `softplus(-D(student))`, with a gradient on student and projection alone, and the critic term
            `softplus(-D(teacher)) + softplus(D(student))`, with a gradient on the critic alone.
        """
        # Features may come in half precision out of autocast; the weights' own dtype decides here.
        dtype = next(self.critic.parameters()).dtype
        with torch.autocast(student_features.device.type, enabled=False):
            fake = self.projection(student_features.to(dtype))  # (batch, teacher_dim)
            real = teacher_features.detach().to(dtype)  # (batch, teacher_dim)
            scores = self.critic(torch.cat([real, fake.detach(), fake]))  # (3 · batch,)
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
            real_score, detached_score, fake_score = scores.split([len(real), len(fake), len(fake)])
            # softplus(-score) is the cross-entropy of "real", softplus(score) that of "fake".
            adversarial = F.softplus(-fake_score).mean()
            on_critic = F.softplus(-detached_score).mean()
            critic = F.softplus(-real_score).mean() + F.softplus(detached_score).mean()
            # Zero in value; its gradient takes from the critic what `adversarial` would teach it.
            return adversarial - (on_critic - on_critic.detach()), critic
