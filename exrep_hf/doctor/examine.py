"""All checks, one after another."""

from collections.abc import Callable, Iterator

from exrep_hf.doctor.accuracy import check_accuracy
from exrep_hf.doctor.disk import check_disk
from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.flags import check_flags
from exrep_hf.doctor.length import check_length
from exrep_hf.doctor.outputs import check_outputs
from exrep_hf.doctor.patient import Patient
from exrep_hf.training.trainer import DistillationTrainer

CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    check_flags,
    check_outputs,
    check_accuracy,
    check_length,
    check_disk,
)


def examine(
    trainer: DistillationTrainer, teacher_is_ready: bool = True, student_is_ready: bool = True
) -> list[Finding]:
    """Look at a run before its first step; nothing is trained or changed.

    Args:
        trainer: of the run.
        teacher_is_ready: whether the teacher is the one that will be asked: not still to be trained or given a head.
        student_is_ready: whether the student is the one that distillation starts from.
    """
    patient = Patient.of(trainer, teacher_is_ready, student_is_ready)
    return [finding for check in CHECKS for finding in check(patient)]
