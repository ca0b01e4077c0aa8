"""What passes between teacher, objective and trainer."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class TeacherOutput(ModelOutput):
    """What a teacher says about a batch.

    Attributes:
        logits: `(batch, num_labels)`, float32, before any softmax; to an objective of the shared classes alone.
        features: pooled final features before dropout and classifier, `(batch, teacher_dim)`, float32.
    """

    logits: Tensor | None = None
    features: Tensor | None = None


@dataclass
class DistillationOutput(ModelOutput):
    """One forward of the objective.

    Attributes:
        loss: scalar to minimise, the weighted sum of `losses`; None where no term applies to the batch.
        losses: each active component before weighting, by its log name (`loss_ce`, `loss_kd`, `loss_crd`,
            `loss_adversarial`, `loss_critic`), scalars.
        logits: the student's, `(batch, num_labels)`.
        features: the student's pooled features, `(batch, feature_dim)`, where a term may look at them.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
