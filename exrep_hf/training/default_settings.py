"""Settings of training that follow from student and images, where they are not given."""

import copy
import math
from dataclasses import dataclass

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.preset import DEFAULT_PRESET, read_preset
from exrep_hf.data import Augmentation
from exrep_hf.models import ExRepForImageClassification

# Chosen on validation images, for AdamW and batches of 128.
RATE_FROM_WEIGHTS = 3e-3
RATE_FROM_NOTHING = 1e-2
_REFERENCE_BATCH = 128

LEAST_STEPS = 1500
"""Steps from which mixed images pay; a few hundred are better spent on images as they are."""
LEAST_EPOCHS = 30
FEW_STEPS = 1000
"""Fewer than these are few for mixed images."""


@dataclass(frozen=True)
class Chosen:
    """Complete settings, and what of them was not given.

    Attributes:
        args: a copy of the settings, with nothing left open.
        told: a line for each choice, and for what is known to fail.
    """

    args: DistillationArguments
    told: tuple[str, ...]


def complete(
    args: DistillationArguments, starts_from_nothing: bool, num_images: int | None, own_optimizer: bool = False
) -> Chosen:
    """Fill in learning rate, length and BatchNorm.

    The learning rate is 0.01 for a student that starts from nothing and 0.003 for one with pre-trained weights, times
    `√(images a step / 128)`, as Adam-like optimizers want it (Malladi et al., NeurIPS 2022). The length is at least
    1 500 steps and at least 30 epochs.

    Args:
        args: settings, which are not changed.
        starts_from_nothing: whether the student's weights are random.
        num_images: training images; None where that is not known.
        own_optimizer: whether an optimizer was passed, which has its own rate.

    Raises:
        ValueError: if a learning rate would have to be chosen for an optimizer that has no rule, or too late.
    """
    args, told = copy.copy(args), []
    per_step = images_per_step(args, num_images)
    if args.learning_rate is None:
        optimizer = str(getattr(args.optim, "value", args.optim))
        if "adam" not in optimizer and not own_optimizer:
            raise ValueError(
                f"`learning_rate` is not given and `optim` is {optimizer!r}; expected a value, as the rule by which "
                "one is chosen is for AdamW. Give `learning_rate`, or leave `optim` out."
            )
        if blocks := _deepspeed_blocks(args):
            raise ValueError(
                f"`learning_rate` is not given and DeepSpeed's config has the blocks {blocks}, filled before one is "
                "chosen. Give `learning_rate`, or leave these blocks out."
            )
        args.learning_rate = float(f"{usual_rate(starts_from_nothing, per_step):.2g}")
        start = "from nothing" if starts_from_nothing else "from pre-trained weights"
        if not own_optimizer:
            told.append(f"learning rate {args.learning_rate:g}: the student starts {start}, {per_step} images a step")
    mixed = bool(args.mixup or args.cutmix)
    if args.freeze_batch_norm is None:
        args.freeze_batch_norm = not (mixed or starts_from_nothing)
        reason = "images are mixed" if mixed else "the student starts from nothing"
        told.append(
            "BatchNorm statistics frozen: images are not mixed, and the student has pre-trained weights"
            if args.freeze_batch_norm
            else f"BatchNorm statistics free: {reason}"
        )
    if args.disable_dropout and args.gradient_checkpointing:
        told.append("the layers of transformers keep all activations with `disable_dropout`, as they do in `eval()`")
    told += _complete_length(args, num_images)
    if mixed and 0 < (steps := planned_steps(args, num_images)) < FEW_STEPS:
        told.append(
            f"{steps} steps are few for mixed images, which pay from about {LEAST_STEPS} on: train longer, or without "
            "mixing (`mixup` 0 and `cutmix` 0)"
        )
    return Chosen(args, tuple(told))


def preset_notes(
    student: ExRepForImageClassification, augmentation: Augmentation | str | None, args: DistillationArguments
) -> list[str]:
    """Say where student, images and training come from different presets.

    Args:
        student: as `from_backbone` made it.
        augmentation: what the trainer was given; `preset`: nothing.
        args: settings of training.
    """
    notes, preset = [], read_preset(args.preset)
    if student.preset not in (None, args.preset):
        notes.append(
            f"training has the settings of the preset `{args.preset}`, the student those of `{student.preset}`"
        )
    distiller, own = preset.settings.get("distiller", "none"), student.config.distiller or "none"
    if args.preset != DEFAULT_PRESET and own != distiller:
        notes.append(
            f"the preset `{args.preset}` has the distiller `{distiller}`, the student `{own}`: "
            f"`from_backbone(…, preset={args.preset!r})` gives it the preset's"
        )
    if args.preset != DEFAULT_PRESET and augmentation not in ("preset", Augmentation.from_preset(args.preset)):
        notes.append(
            f"the preset `{args.preset}` varies images by {Augmentation.from_preset(args.preset)}, this run by "
            f"{augmentation}: `Augmentation.from_preset({args.preset!r})` gives the preset's"
        )
    return notes


def _deepspeed_blocks(args: DistillationArguments) -> list[str]:
    """Return the blocks of DeepSpeed's config that hold a learning rate of their own."""
    config = getattr(args, "hf_deepspeed_config", None)
    return [] if config is None else sorted({"optimizer", "scheduler"} & config.config.keys())


def _complete_length(args: DistillationArguments, num_images: int | None) -> list[str]:
    if args.num_train_epochs is not None or args.max_steps > 0:
        # The Trainer does arithmetic with the epochs even where steps are given.
        args.num_train_epochs = 3.0 if args.num_train_epochs is None else args.num_train_epochs
        return []
    args.num_train_epochs = float(LEAST_EPOCHS)
    if num_images is None:
        # The Trainer itself asks for `max_steps` where a data set has no length.
        return []
    an_epoch, per_step = _steps_of_an_epoch(args, num_images), images_per_step(args, num_images)
    args.max_steps = max(LEAST_STEPS, LEAST_EPOCHS * an_epoch)
    if num_images < per_step:
        return [
            f"{args.max_steps} steps of {per_step} images, of which there are {num_images}: each comes several times "
            "in a step, with a crop and partners of its own; no length was given"
        ]
    epochs = args.max_steps / an_epoch
    return [f"{args.max_steps} steps, {epochs:.0f} epochs of {num_images} images: no length was given"]


def images_per_step(args: DistillationArguments, num_images: int | None = None, batch: int | None = None) -> int:
    """Return how many images an optimizer step of all processes takes.

    Where there are fewer, they come several times in it; not with CRD's bank, whose rows are written once a step.

    Args:
        args: settings of training.
        num_images: training images; None where that is not known.
        batch: images that a process takes at a time, where they are not those of `args`.
    """
    wanted = (batch or args.train_batch_size) * args.gradient_accumulation_steps * args.world_size
    return min(wanted, num_images) if num_images is not None and args.has_bank else wanted


def planned_steps(args: DistillationArguments, num_images: int | None) -> int:
    """Return how many steps complete settings take; 0 where that is not known."""
    if args.max_steps > 0:
        return args.max_steps
    if num_images is None:
        return 0
    return math.ceil((args.num_train_epochs or 0) * _steps_of_an_epoch(args, num_images))


def _steps_of_an_epoch(args: DistillationArguments, num_images: int) -> int:
    return math.ceil(num_images / images_per_step(args, num_images))


def usual_rate(starts_from_nothing: bool, per_step: int) -> float:
    """Return the learning rate of Adam-like optimizers that is chosen where none is given.

    Args:
        starts_from_nothing: whether the student's weights are random.
        per_step: images.
    """
    rate = RATE_FROM_NOTHING if starts_from_nothing else RATE_FROM_WEIGHTS
    return rate * math.sqrt(per_step / _REFERENCE_BATCH)
