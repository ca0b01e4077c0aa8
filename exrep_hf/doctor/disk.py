"""Whether checkpoints fit on the disk."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.sizes import bytes_in_words
from exrep_hf.training.default_settings import planned_steps
from exrep_hf.training.inputs import images_in_a_walk

# A weight in float32 and Adam's two moments of it.
_BYTES_A_WEIGHT = 12
_WORTH_TELLING = 2**30


def check_disk(patient: Patient, folder: Path | None = None) -> Iterator[Finding]:
    """Compare the size of all checkpoints that will lie there at once with what is free.

    Args:
        patient: the run.
        folder: where they will lie; that of the settings where not given.
    """
    kept, size = checkpoints_kept(patient), checkpoint_bytes(patient)
    place = (folder or Path(str(patient.trainer.args.output_dir))).absolute()
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free, size * kept
    told = f"{kept} checkpoints of {bytes_in_words(size)}: {bytes_in_words(needed)}; {bytes_in_words(free)} are free"
    if needed > free:
        yield Finding("waste", told, "Give `--save_total_limit 1`, `--save_strategy no`, or another `--output_dir`.")
    elif needed > _WORTH_TELLING:
        yield Finding("fine", told)


def checkpoints_kept(patient: Patient) -> int:
    """Return how many checkpoints of all runs lie there at once."""
    written, limit, runs = checkpoints_written(patient), patient.trainer.args.save_total_limit, patient.runs
    # While the newest is written the oldest is still there; transformers takes 0 for no limit.
    return min(written, limit) * runs + (written > limit) if limit else written * runs


def checkpoint_bytes(patient: Patient) -> int:
    """Return about how large a checkpoint is: weights, their moments, and what else the objective keeps."""
    objective = patient.trainer.distillation_objective
    weights = sum(weight.numel() for weight in objective.parameters() if weight.requires_grad)
    rest = objective.auxiliary_state(parameters=False).values()
    return weights * _BYTES_A_WEIGHT + sum(each.numel() * each.element_size() for each in rest)


def checkpoints_written(patient: Patient) -> int:
    """Return how many checkpoints a whole run writes; 0 where its length is not known."""
    args, images = patient.trainer.args, images_in_a_walk(patient.trainer.train_dataset)
    steps = planned_steps(args, images)
    strategy = str(getattr(args.save_strategy, "value", args.save_strategy))
    if strategy == "no" or not steps:
        return 0
    if strategy == "epoch" and images:
        per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return math.ceil(steps * per_step / max(images, per_step))
    every = args.save_steps if args.save_steps >= 1 else args.save_steps * steps
    return math.ceil(steps / max(every, 1))
