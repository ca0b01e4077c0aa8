"""What each term of the loss does to the student."""

import math
from collections.abc import Iterator

import torch

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.trial import can_be_tried, losses_of, training_batch, without_trace

_IMAGES = 32
# Of all terms' gradients: beside a term with more, the others do nothing.
_NEARLY_ALL = 0.995


def check_gradients(patient: Patient) -> Iterator[Finding]:
    """Compare the norms of all terms' gradients, times their weights, on the student's weights, for one batch."""
    trainer = patient.trainer
    student = [weight for weight in trainer.student.parameters() if weight.requires_grad]
    if not can_be_tried(trainer) or not student:
        return
    with without_trace(patient):
        others = [
            weight
            for name, weight in trainer.distillation_objective.named_parameters()
            if weight.requires_grad and not name.startswith("student.")
        ]
        batch = training_batch(trainer, min(_IMAGES, trainer.args.train_batch_size))
        _, losses = losses_of(trainer, batch)
        norms, anywhere = {}, {}
        for name, loss in losses.items():
            if not loss.requires_grad:
                norms[name] = anywhere[name] = 0.0
                continue
            found = torch.autograd.grad(loss, [*student, *others], retain_graph=True, allow_unused=True)
            norms[name] = _norm(found[: len(student)])
            anywhere[name] = math.hypot(norms[name], _norm(found[len(student) :]))
    broken = {name: "is not finite" for name, norm in anywhere.items() if not math.isfinite(norm)}
    broken |= {name: "is zero" for name, norm in anywhere.items() if norm == 0}
    for name, fault in broken.items():
        yield Finding(
            "waste",
            f"the gradient of the term `{name}` {fault} for {len(batch['pixel_values'])} training images",
            f"Look at what the term compares, or leave it out (weight 0 of `{name}`).",
        )
    total = sum(norms.values())
    shares = {name: norm / total for name, norm in norms.items() if norm > 0 and math.isfinite(total)}
    if not shares:
        return
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    highest = max(shares, key=lambda name: shares[name])
    if len(shares) > 1 and shares[highest] > _NEARLY_ALL:
        yield Finding(
            "warning",
            f"shares of the gradient on the student: {told}: the other terms do next to nothing",
            f"Lower the weight of `{highest}`, or leave the others out, which cost time.",
        )
    elif len(shares) > 1:
        yield Finding("fine", f"shares of the gradient on the student: {told}")


def _norm(gradients: tuple[torch.Tensor | None, ...]) -> float:
    norms = [gradient.float().norm() for gradient in gradients if gradient is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
