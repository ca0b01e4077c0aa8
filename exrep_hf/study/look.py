"""The short look that each study begins with: what would waste it ends it before hours are spent."""

from accelerate import PartialState
from datasets import Dataset

from exrep_hf.data.partition import DataPartition
from exrep_hf.doctor import QUICK, Finding, examine
from exrep_hf.main_process import decided_by_main
from exrep_hf.study.arms import Arm
from exrep_hf.study.run import make_trainer
from exrep_hf.study.stages import Classifier
from exrep_hf.teacher import TeacherSource


def look_first(
    arm: Arm,
    start: Classifier,
    images: Dataset,
    data: DataPartition,
    seed: int,
    teacher: TeacherSource | None,
    teacher_is_ready: bool,
    student_is_ready: bool,
    told: set[Finding],
    runs: int,
) -> None:
    """Look at the method as it would begin, and print what there is to think about; called on all processes.

    Args:
        arm: the method.
        start: the student that it starts from, or that will be trained first.
        images: to evaluate on.
        data: all images.
        seed: which of them are public.
        teacher: who is asked, if anyone.
        teacher_is_ready: whether it is the one that will be asked: not still to be trained or given a head.
        student_is_ready: whether the student knows its classes already.
        told: what an earlier look has printed; what this one prints is added.
        runs: how many there will be: arms times seeds.

    Raises:
        ValueError: if the run would be wasted, with what was found and what to do about it.
    """
    trainer = make_trainer(arm, start, images, data, seed, teacher)
    found = examine(trainer, teacher_is_ready, student_is_ready, QUICK, runs)
    # Of machines with different disks the main one decides.
    found = decided_by_main(lambda: found)
    if wastes := [each for each in found if each.level == "waste"]:
        raise ValueError(
            f"This run would be wasted: {'; '.join(map(_in_words, wastes))} To run it all the same give `--no_doctor`."
        )
    new = [each for each in found if each.level == "warning" and each not in told]
    told.update(new)
    if PartialState().is_main_process:
        for each in new:
            print(f"doctor: {_in_words(each)}", flush=True)


def _in_words(finding: Finding) -> str:
    return f"{finding.what}. {finding.remedy}" if finding.remedy else finding.what
