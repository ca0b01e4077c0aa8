"""All checks, one after another."""

from collections.abc import Callable, Iterator

import torch

from exrep_hf.doctor.accuracy import check_accuracy
from exrep_hf.doctor.disk import check_disk
from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.flags import check_flags
from exrep_hf.doctor.gradients import check_gradients
from exrep_hf.doctor.heads import check_heads
from exrep_hf.doctor.length import check_length
from exrep_hf.doctor.memory import check_memory
from exrep_hf.doctor.outputs import check_outputs
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.pixels import check_channels, check_pixels
from exrep_hf.doctor.speed import check_speed
from exrep_hf.training.trainer import DistillationTrainer

Check = Callable[[Patient], Iterator[Finding]]

QUICK: tuple[Check, ...] = (
    check_flags,
    check_pixels,
    check_outputs,
    check_accuracy,
    check_heads,
    check_length,
    check_disk,
    check_memory,
)
"""Those of the look that each study begins with."""
CHECKS: tuple[Check, ...] = (*QUICK, check_channels, check_gradients, check_speed)

_REFUSALS = (ValueError, torch.OutOfMemoryError)


def examine(
    trainer: DistillationTrainer,
    teacher_is_ready: bool = True,
    student_is_ready: bool = True,
    checks: tuple[Check, ...] = CHECKS,
    runs: int = 1,
) -> list[Finding]:
    """Look at a run before its first step; nothing is trained or changed.

    Args:
        trainer: of the run.
        teacher_is_ready: whether the teacher is the one that will be asked: not still to be trained or given a head.
        student_is_ready: whether the student is the one that distillation starts from.
        checks: what to look at.
        runs: how many runs of this length there are, whose hours are told.
    """
    found: list[Finding] = []
    try:
        patient = Patient.of(trainer, teacher_is_ready, student_is_ready, runs)
    except _REFUSALS as error:
        found.append(refusal(error))
        patient = Patient.unasked(trainer, teacher_is_ready, student_is_ready, runs)
    for check in checks:
        try:
            found.extend(check(patient))
        except _REFUSALS as error:
            found.append(refusal(error))
    return found


def refusal(error: Exception) -> Finding:
    """Return what is refused, or does not fit into memory, as a finding."""
    if isinstance(error, torch.OutOfMemoryError):
        return Finding(
            "waste",
            f"a batch does not fit into the device's memory ({' '.join(str(error).split())[:120]})",
            "Give a smaller `--per_device_train_batch_size`, with `--gradient_accumulation_steps`.",
        )
    return Finding("waste", " ".join(str(error).split()))
