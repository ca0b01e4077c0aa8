"""Whether student and teacher say anything: finite answers that differ from image to image."""

from collections.abc import Iterator

import torch
from torch import Tensor

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient

# Of the size of an answer: what differs by less is rounding.
_ROUNDING = 1e-5


def check_outputs(patient: Patient) -> Iterator[Finding]:
    """Look for answers that are not finite, all zero, or the same for all images."""
    answers = {"student's logits": patient.student if patient.student_knows else None}
    if patient.student is not None and not bool(torch.isfinite(patient.student).all()):
        # Of an untrained head all answers may be alike, but not this.
        answers["student's logits"] = patient.student
    if patient.teacher_is_ready:
        answers |= {"teacher's logits": patient.teacher, "teacher's features": patient.features}
    for name, values in answers.items():
        if values is not None and (fault := _fault(values)) is not None:
            yield Finding("waste", f"the {name} {fault}", f"Look at the weights of the {name.split(chr(39))[0]}.")


def _fault(values: Tensor) -> str | None:
    if not bool(torch.isfinite(values).all()):
        share = 1 - torch.isfinite(values).flatten(1).all(1).float().mean().item()
        return f"are not finite for {share:.0%} of {len(values)} training images"
    size = values.abs().max().item()
    if size == 0:
        return f"are zero for all of {len(values)} training images"
    if len(values) > 1 and values.std(0).max().item() <= _ROUNDING * size:
        return f"are the same for all of {len(values)} training images"
    return None
