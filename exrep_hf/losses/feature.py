"""The student's pooled features against the teacher's, on any image, mixed ones too, and without labels.

Sariyildiz et al., "UNIC: Universal Classification Models via Multi-teacher Distillation", ECCV 2024,
https://arxiv.org/abs/2408.05088: cosine and smooth L1 to standardised features, through a projector that is dropped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the root mean square of all deviations: dimensions that hardly vary would be blown up to noise.
_SMALLEST_DEVIATION = 1e-3


class FeatureLoss(nn.Module):
    """`½ · (1 − cosine) + ½ · smooth L1` between projected student features and standardised teacher features.

    The projector is on the student's side, and no part of what is published. Teacher features are standardised per
    dimension by statistics that are set once; until then they are taken as they are.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        hidden_dim: width of the hidden layer of a projector of two layers; None: LayerNorm and one linear layer.

    Attributes:
        projector: student features `(batch, student_dim)` to `(batch, teacher_dim)`.
        mean: of the teacher's features, `(teacher_dim,)`.
        deviation: their standard deviation, `(teacher_dim,)`.
        is_standardised: whether the statistics were set.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, student_dim: int, teacher_dim: int, hidden_dim: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.LayerNorm(student_dim)]
        if hidden_dim is not None:
            layers += [nn.Linear(student_dim, hidden_dim), nn.GELU()]
        self.projector = nn.Sequential(*layers, nn.Linear(hidden_dim or student_dim, teacher_dim))
        self.register_buffer("mean", torch.zeros(teacher_dim))
        self.register_buffer("deviation", torch.ones(teacher_dim))
        self.is_standardised = False

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise the teacher's features by these from now on.

        Args:
            mean: `(teacher_dim,)`.
            deviation: `(teacher_dim,)`, ≥ 0; very small ones are raised.

        Raises:
            ValueError: for other shapes, or values that are not finite.
        """
        for name, value in (("mean", mean), ("deviation", deviation)):
            if value.shape != self.mean.shape or not value.isfinite().all():
                raise ValueError(
                    f"`{name}` of the teacher's features has the shape {tuple(value.shape)}, finite: "
                    f"{bool(value.isfinite().all())}; expected {tuple(self.mean.shape)} finite values. Collect them "
                    "from the features of this teacher."
                )
        least = _SMALLEST_DEVIATION * deviation.square().mean().sqrt()
        self.mean.copy_(mean)
        # A teacher that says the same of every image has no deviation at all.
        self.deviation.copy_(deviation.clamp(min=float(least) or 1.0))
        self.is_standardised = True

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """Compare a batch of features.

        Args:
            student_features: `(batch, student_dim)`, any float dtype.
            teacher_features: `(batch, teacher_dim)`; no gradient goes back to them.

        Returns:
            Scalar ≥ 0, computed in float32 also under autocast.

        Raises:
            ValueError: for teacher features of another width.
        """
        if teacher_features.shape[1:] != self.mean.shape:
            raise ValueError(
                f"The teacher's features have the shape {tuple(teacher_features.shape)}; expected (batch, "
                f"{len(self.mean)}). Make the loss with the width of this teacher's features."
            )
        # Features may come in half precision out of autocast; the weights' own dtype decides here.
        dtype = next(self.projector.parameters()).dtype
        with torch.autocast(student_features.device.type, enabled=False):
            predicted = self.projector(student_features.to(dtype)).float()  # (batch, teacher_dim)
            wanted = (teacher_features.detach().float() - self.mean.float()) / self.deviation.float()
            cosine = F.cosine_similarity(predicted, wanted, dim=-1).mean()
            return 0.5 * (1 - cosine) + 0.5 * F.smooth_l1_loss(predicted, wanted)
