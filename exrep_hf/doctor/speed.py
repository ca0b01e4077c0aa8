"""How many images a second, where the narrow place is, and when the run will be done."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch

from exrep_hf.data.seeding import generators_kept
from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.trial import can_be_tried, losses_of, training_batch, without_trace
from exrep_hf.training.default_settings import planned_steps
from exrep_hf.training.inputs import images_in_a_walk
from exrep_hf.training.notices import in_words, wait_for_accelerator

# Seconds for each of both.
_LONGEST = 3.0
_MOST_BATCHES = 50
_FEW_ROWS = 64
# On a CPU a step of all images may take minutes; as many a second are computed of a few.
_FEW_IMAGES = 16
# A GPU that waits for images more than half of the time.
_WAITS = 0.5


def check_speed(patient: Patient) -> Iterator[Finding]:
    """Time the loader alone, and forward and backward passes alone, for a few seconds."""
    trainer = patient.trainer
    if not can_be_tried(trainer) or not any(weight.requires_grad for weight in trainer.student.parameters()):
        return
    with generators_kept():
        args, loaded, computed = trainer.args, _loaded_a_second(patient), _computed_a_second(patient)
    # Without workers the process does one after the other.
    alone = args.dataloader_num_workers == 0
    together = 1 / (1 / loaded + 1 / computed) if alone else min(loaded, computed)
    steps = planned_steps(args, images_in_a_walk(trainer.train_dataset))
    seconds = steps * args.train_batch_size * args.gradient_accumulation_steps / together
    narrow = "the loader is" if loaded < computed else "steps are"
    told = f"loader {loaded:,.0f} images/s, steps {computed:,.0f} images/s: {narrow} the narrow place"
    if steps:
        told += f"; {steps} steps take {in_words(seconds)}"
        told += f", {patient.runs} runs {in_words(seconds * patient.runs)}" if patient.runs > 1 else ""
    remedy = "Give more `--dataloader_num_workers`, smaller images on disk, or `--images_on_device true`."
    if loaded < _WAITS * computed and args.device.type != "cpu":
        yield Finding("warning", told, remedy)
    else:
        yield Finding("fine", told)


def _loaded_a_second(patient: Patient) -> float:
    trainer = patient.trainer
    workers = trainer.args.dataloader_num_workers or 0
    loader = iter(trainer.get_train_dataloader())
    # What workers have ready when the first batch comes is no measure of what they go on to give.
    for _ in itertools.islice(loader, 1 + workers):
        pass
    images, batches, began, seconds = 0, 0, time.perf_counter(), 0.0
    for batch in itertools.islice(loader, _MOST_BATCHES + 2 * workers):
        images, batches = images + len(next(iter(batch.values()))), batches + 1
        seconds = time.perf_counter() - began
        if seconds > _LONGEST:
            break
    if batches > 2 * workers + 1:
        return images / max(seconds, 1e-6)
    # An epoch of a few batches, which were all ready: what this process makes, times the workers.
    dataset: Any = trainer.train_dataset
    rows = range(min(len(dataset), _FEW_ROWS))
    began = time.perf_counter()
    for row in rows:
        dataset[row]
    return len(rows) * max(workers, 1) / max(time.perf_counter() - began, 1e-6)


def _computed_a_second(patient: Patient) -> float:
    trainer = patient.trainer
    everything, on_cpu = trainer.args.train_batch_size, trainer.args.device.type == "cpu"
    count = min(_FEW_IMAGES, everything) if on_cpu else everything
    with without_trace(patient):
        # The first one lays memory out.
        seconds = _seconds_of_a_step(patient, count, 1)
        if on_cpu and seconds * everything / count < _LONGEST / 2:
            count = everything
            seconds = _seconds_of_a_step(patient, count, 1)
        images = len(training_batch(trainer, count)["pixel_values"])
        steps = int(_LONGEST / 2 // max(seconds, 1e-6))
        if steps:
            seconds = _seconds_of_a_step(patient, count, min(steps, 10))
    return images / max(seconds, 1e-6)


def _seconds_of_a_step(patient: Patient, count: int, steps: int) -> float:
    trainer = patient.trainer
    weights = [weight for weight in trainer.distillation_objective.parameters() if weight.requires_grad]
    batch = training_batch(trainer, count)
    wait_for_accelerator()
    began = time.perf_counter()
    for _ in range(steps):
        loss, _ = losses_of(trainer, batch)
        if loss is not None and loss.requires_grad:
            torch.autograd.grad(loss, weights, allow_unused=True)
    wait_for_accelerator()
    return (time.perf_counter() - began) / steps
