"""One arm under one seed: trained and evaluated."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor

from exrep_hf.arguments import DataArguments, DistillationArguments
from exrep_hf.data import Augmentation
from exrep_hf.data.partition import DataPartition
from exrep_hf.finite import NonFiniteError, check_figures
from exrep_hf.main_process import decided_by_main
from exrep_hf.study.arms import Arm
from exrep_hf.study.folder import checkpoint_to_resume
from exrep_hf.study.progress import show_progress
from exrep_hf.study.run_names import run_name
from exrep_hf.study.stages import Classifier, labels_only, of_seed, with_distiller
from exrep_hf.teacher import TeacherSource
from exrep_hf.training.own_terms import make_terms
from exrep_hf.training.trainer import DistillationTrainer

Metrics = dict[str, float]

CHOSEN = ("learning_rate", "freeze_batch_norm", "max_steps", "feature_weight", "mix_rounds")
"""Settings that follow from teacher, student and images where they are not given."""


def evaluate(
    student: Classifier,
    images: Dataset,
    teacher: TeacherSource | None,
    args: DistillationArguments,
    data_args: DataArguments,
    preprocess_logits: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Metrics:
    """Evaluate a plain classifier: accuracy, loss with the labels, and agreement with the teacher.

    Trackers are not told: it is no point of the run whose settings these are.

    Args:
        student: it.
        images: to evaluate on.
        teacher: to compare it with.
        args: where and how.
        data_args: how classes are matched.
        preprocess_logits: what metrics are computed of, from logits and labels.

    Raises:
        NonFiniteError: if a figure is not finite.
    """
    untracked = labels_only(args)
    untracked.report_to = []
    trainer = DistillationTrainer(
        student.classifier,
        teacher=teacher,
        args=untracked,
        eval_dataset=images,
        processing_class=student.processor,
        preprocess_logits_for_metrics=preprocess_logits,
        classes=data_args.class_rule(),
    )
    show_progress(trainer, "a plain classifier")
    return _measured(trainer, "a plain classifier")


def _measured(trainer: DistillationTrainer, whose: str) -> Metrics:
    metrics = short_names(trainer.evaluate())
    check_figures(metrics, f"The evaluation of {whose}")
    return metrics


def short_names(metrics: Metrics) -> Metrics:
    """Metrics of an evaluation without the Trainer's prefix and timings."""
    timings = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
    named = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
    return {name: value for name, value in named.items() if name not in timings}


def make_trainer(
    arm: Arm, start: Classifier, images: Dataset, data: DataPartition, seed: int, teacher: TeacherSource | None
) -> DistillationTrainer:
    """Return the trainer of an arm, for a copy of the starting student.

    Raises:
        ValueError: for data and models that don't fit the arm.
    """
    trainer = DistillationTrainer(
        with_distiller(start, arm.model_args),
        teacher=teacher,
        args=arm.args,
        train_dataset=data.training_set(seed, arm.data_args, arm.args.needs_teacher),
        eval_dataset=images,
        augmentation=Augmentation.from_arguments(arm.data_args),
        processing_class=start.processor,
        classes=arm.data_args.class_rule(),
        # The study has chosen the head.
        teacher_head=None if teacher is None else "none" if teacher.num_labels is None else "own",
        terms=make_terms(arm.args.own_terms, arm.args.seed, arm.allow_code),
    )
    show_progress(trainer, f"seed {seed}: {arm.name}")
    return trainer


def distil(
    arm: Arm, start: Classifier, images: Dataset, data: DataPartition, teacher: TeacherSource | None
) -> tuple[dict[str, Any], DistillationTrainer]:
    """Train one arm from a copy of the starting student and evaluate what comes out.

    Returns:
        What happened, and the trainer with the trained student.

    Raises:
        NonFiniteError: if a loss, a weight or a figure is not finite.
    """
    trainer = make_trainer(arm, start, images, data, arm.args.seed, teacher)
    asked, folder = arm.args.resume_from_checkpoint, Path(str(arm.args.output_dir))
    # Once: all files of a checkpoint are read for it.
    resume = decided_by_main(lambda: checkpoint_to_resume(asked, folder))
    began = time.perf_counter()
    try:
        trained = trainer.train(resume_from_checkpoint=resume).metrics
    except NonFiniteError as error:
        raise NonFiniteError(f"{arm.name}, seed {arm.args.seed}: {error}{_way_on(arm)}") from error
    seconds = time.perf_counter() - began
    record: dict[str, Any] = {
        "seed": arm.args.seed,
        "after": _measured(trainer, f"{arm.name}, seed {arm.args.seed},"),
        "without_distiller": None,
        "steps": trainer.state.global_step,
        "chosen": {name: getattr(trainer.args, name) for name in CHOSEN},
        "seconds": seconds,
        "train_images_per_second": trained["train_samples_per_second"],
        "history": [
            _without_skipped_norm(entry)
            for entry in trainer.state.log_history
            if "loss" in entry or "eval_loss" in entry
        ],
    }
    if trainer.student.input_distiller is not None:
        plain = Classifier(trainer.whole_student().without_distiller(), start.processor)
        record["without_distiller"] = {"after": evaluate(plain, images, teacher, arm.args, arm.data_args)}
    # Before a student with such figures is published, or an arm counts as finished.
    check_figures(record, f"The record of seed {arm.args.seed}, {arm.name},")
    return record, trainer


def _way_on(arm: Arm) -> str:
    # What the method changes, all arms change.
    if not arm.changes:
        return ""
    return (
        f" What is finished is kept: change `controls.{arm.name}` or leave it out; `exrep train` then goes on with "
        "`--resume_from_checkpoint true`."
    )


def _without_skipped_norm(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave the gradients' norm out of a step that float16's scaler left out too, as it does now and then."""
    return {name: value for name, value in entry.items() if name != "grad_norm" or math.isfinite(value)}


def with_folder(arm: Arm, folder: Path, seed: int) -> Arm:
    """Return the arm with a folder for its checkpoints, a seed, and the name that trackers know its run by."""
    args = of_seed(arm.args, seed)
    args.output_dir = str(folder)
    args.run_name = run_name(args, f"{arm.name}-seed{seed}")
    return dataclasses.replace(arm, args=args)
