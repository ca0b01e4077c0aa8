"""Plain distillation of logits.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531
"""

import torch.nn.functional as F
from torch import Tensor, nn


class KDLoss(nn.Module):
    """Kullback-Leibler divergence from the teacher's softened predictions to the student's.

    `temperature² · KL(softmax(teacher / temperature) ‖ softmax(student / temperature))`, summed over the classes
    and averaged over the batch (Hinton et al. 2015, section 2). The factor keeps the size of the gradient when the
    temperature changes.

    Args:
        temperature: softens both distributions, > 0.

    Raises:
        ValueError: if `temperature` is not positive.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"KD temperature must be > 0, got {temperature}; the usual choice is 4.")
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Compare a batch of predictions.

        Args:
            student_logits: `(batch, num_labels)`, before any softmax, any float dtype.
            teacher_logits: `(batch, num_labels)`; no gradient goes back to them.

        Returns:
            Scalar ≥ 0, computed in float32 whatever the input's dtype.

        Raises:
            ValueError: if the two shapes differ.
        """
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                f"Student and teacher logits must have the same (batch, classes), got {tuple(student_logits.shape)} "
                f"and {tuple(teacher_logits.shape)}; use a teacher and a student with the same classes."
            )
        # In bfloat16 the rounded probabilities can make the divergence negative.
        student = F.log_softmax(student_logits.float() / self.temperature, dim=-1)  # (batch, num_labels)
        teacher = F.log_softmax(teacher_logits.detach().float() / self.temperature, dim=-1)  # (batch, num_labels)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * self.temperature**2
