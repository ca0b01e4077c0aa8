"""Whether the run is as long as its settings were made for, with a learning rate of that size."""

from collections.abc import Iterator

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.training.default_settings import FEW_STEPS, LEAST_STEPS, planned_steps
from exrep_hf.training.inputs import images_in_a_walk

# Adam moves each weight by about the learning rate a step.
_HIGHEST_RATE, _LOWEST_RATE = 0.1, 1e-6


def check_length(patient: Patient) -> Iterator[Finding]:
    """Look at steps and learning rate."""
    args = patient.trainer.args
    steps = planned_steps(args, images_in_a_walk(patient.trainer.train_dataset))
    if (args.mixup or args.cutmix) and 0 < steps < FEW_STEPS:
        yield Finding(
            "warning",
            f"{steps} steps are few for mixed images, which pay from about {LEAST_STEPS} on",
            "Train longer, or with `--mixup 0 --cutmix 0`.",
        )
    rate = args.learning_rate
    if "adam" not in str(getattr(args.optim, "value", args.optim)) or rate is None:
        return
    if rate > _HIGHEST_RATE:
        yield Finding("waste", f"the learning rate is {rate:g}, too high for Adam", "Leave `learning_rate` out.")
    elif rate < _LOWEST_RATE:
        yield Finding("waste", f"the learning rate is {rate:g}: nothing would move", "Leave `learning_rate` out.")
