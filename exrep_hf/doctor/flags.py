"""Whether what is to learn can, and what is not to change doesn't."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient


def check_flags(patient: Patient) -> Iterator[Finding]:
    """Look at gradient flags of student and teacher, and at the teacher's mode behind its answers."""
    trainer = patient.trainer
    weights = list(trainer.student.parameters())
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    every = sum(weight.numel() for weight in weights)
    if learning == 0:
        yield Finding("waste", "no weight of the student is trained", "Call `student.requires_grad_(True)`.")
    elif learning < 0.5 * every:
        yield Finding(
            "warning",
            f"{learning / every:.1%} of the student's weights are trained",
            "Call `student.requires_grad_(True)` if all of them should be.",
        )
    for network in () if trainer.teacher is None else trainer.teacher.networks():
        if any(weight.requires_grad for weight in network.parameters()):
            yield Finding("warning", "the teacher asks for gradients", "Call `teacher.requires_grad_(False)`.")
        if patient.teacher is not None and any(map(_answers_by_chance, network.modules())):
            yield Finding(
                "warning",
                "the teacher answers in training mode: what it says of an image depends on chance, or on the batch",
                "Call `network.eval()` where the teacher is asked.",
            )


def _answers_by_chance(module: nn.Module) -> bool:
    """Return whether a module is in training mode, and says something else there."""
    if not module.training:
        return False
    return isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0)
