"""Whether a classifier knows nothing of any image: also where there are no labels to score it by."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.teacher import ProbedTeacher

# Of the highest entropy there is: an untrained head's answers are all but uniform.
_UNIFORM = 0.99
_FEWEST_CLASSES = 2


def check_heads(patient: Patient) -> Iterator[Finding]:
    """Look for answers that are all but uniform: a head that nobody trained."""
    answers = {"student": patient.student} if patient.student_knows else {}
    # A probe is only as sure as its regularisation lets it be.
    if patient.teacher_is_ready and not isinstance(patient.trainer.teacher, ProbedTeacher):
        answers["teacher"] = patient.teacher
    for who, logits in answers.items():
        if logits is None or not bool(torch.isfinite(logits).all()) or logits.shape[-1] < _FEWEST_CLASSES:
            continue
        entropy = _entropy(logits)
        if entropy > _UNIFORM and logits.std(0).max() > 0:
            yield Finding(
                "warning",
                f"the {who}'s answers are all but uniform ({entropy:.1%} of the highest entropy) for all of "
                f"{len(logits)} training images: its head looks random",
                "Look whether its checkpoint holds a trained head: `--teacher_head probe` makes one."
                if who == "teacher"
                else "Look whether its checkpoint holds a trained head, or say that it is new (`--student_new_head`).",
            )


def _entropy(logits: Tensor) -> float:
    """Return the mean entropy of answers, as a share of the highest."""
    shares = torch.distributions.Categorical(logits=logits.double()).entropy()
    return float(shares.mean()) / math.log(logits.shape[-1])
