"""Whether the run is as long as its settings were made for, with a learning rate of that size."""

import math
from collections.abc import Iterator

from exrep_hf.arguments import DistillationArguments
from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.training.default_settings import (
    FEW_STEPS,
    LEAST_EPOCHS,
    LEAST_STEPS,
    images_per_step,
    planned_steps,
    usual_rate,
)
from exrep_hf.training.inputs import images_in_a_walk

# Adam moves each weight by about the learning rate a step.
_HIGHEST_RATE, _LOWEST_RATE = 0.1, 1e-6
# SGD moves it by the rate times a gradient; nobody trains a network with more.
_HIGHEST_RATE_OF_SGD, _LOWEST_RATE_OF_SGD = 10.0, 1e-7
# Times the rate that is chosen where none is given.
_MUCH_HIGHER, _MUCH_LOWER = 10.0, 0.01
# Fewer are few for mixed images, however often each comes.
_FEWEST_STEPS = 150


def check_length(patient: Patient) -> Iterator[Finding]:
    """Look at steps, epochs, warm-up and learning rate."""
    args, images = patient.trainer.args, images_in_a_walk(patient.trainer.train_dataset)
    steps = planned_steps(args, images)
    epochs = math.inf if not images else steps * images_per_step(args, images) / images
    # Of few images even a short run sees each of them in many mixtures.
    few = steps < _FEWEST_STEPS or (steps < FEW_STEPS and epochs < LEAST_EPOCHS)
    if (args.mixup or args.cutmix) and steps and few:
        yield Finding(
            "warning",
            f"{steps} steps are few for mixed images, which pay from about {LEAST_STEPS} on",
            "Train longer, or with `--mixup 0 --cutmix 0`.",
        )
    elif steps and epochs < 1:
        yield Finding(
            "warning",
            f"{steps} steps see {epochs:.0%} of the {images} training images",
            f"Train at least an epoch; our settings were made for {LEAST_EPOCHS} (leave `max_steps` out).",
        )
    if steps and args.get_warmup_steps(steps) >= steps:
        yield Finding(
            "warning",
            f"the learning rate rises for {args.get_warmup_steps(steps)} steps, and there are {steps}: it never gets "
            "where it is to be",
            "Leave `warmup_steps` out (3 % of the run).",
        )
    yield from _rate(patient, args, images)


def _rate(patient: Patient, args: DistillationArguments, images: int | None) -> Iterator[Finding]:
    rate, optimizer = args.learning_rate, str(getattr(args.optim, "value", args.optim))
    if rate is None or patient.trainer.optimizer is not None:
        return
    is_adam, remedy = "adam" in optimizer, "Leave `learning_rate` out."
    highest, lowest = (_HIGHEST_RATE, _LOWEST_RATE) if is_adam else (_HIGHEST_RATE_OF_SGD, _LOWEST_RATE_OF_SGD)
    usual = usual_rate(patient.trainer.student.starts_from_nothing, images_per_step(args, images))
    if rate > highest:
        yield Finding("waste", f"the learning rate is {rate:g}, too high for {optimizer}", remedy)
    elif rate < lowest:
        yield Finding("waste", f"the learning rate is {rate:g}: nothing would move", remedy)
    elif is_adam and not _MUCH_LOWER <= rate / usual <= _MUCH_HIGHER:
        yield Finding(
            "warning",
            f"the learning rate is {rate:g}; for such a student and {images_per_step(args, images)} images a step "
            f"{usual:.2g} would be chosen",
            remedy,
        )
