"""Whether what is to learn can, and what is not to change doesn't."""

from collections.abc import Iterator

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient


def check_flags(patient: Patient) -> Iterator[Finding]:
    """Look at gradient flags of student and teacher; a teacher that is asked is in evaluation mode in any case."""
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
