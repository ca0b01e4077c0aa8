"""Whether student, teacher and settings fit each other: looked at before anything is prepared."""

import os
from typing import Any

from torch import nn

from exrep_hf.arguments import DistillationArguments
from exrep_hf.arguments.distillation import FEATURE_TERMS
from exrep_hf.models import ExRepForImageClassification, load_classifier
from exrep_hf.teacher import TeacherSource, check_answers, check_apart


def as_student(model: nn.Module | str | os.PathLike[str]) -> ExRepForImageClassification:
    """Return a student; any other classifier of transformers or timm, or a name or folder, becomes one, plain.

    Raises:
        ValueError: if the model is no classifier, or none is found.
    """
    if isinstance(model, str | os.PathLike):
        model = load_classifier(model)
    if isinstance(model, ExRepForImageClassification):
        return model
    return ExRepForImageClassification.from_backbone(model, distiller=None)


def check_roles(
    student: ExRepForImageClassification, teacher: TeacherSource | None, args: DistillationArguments, optimizer: Any
) -> None:
    """Make sure that a teacher can teach this student under these settings.

    Args:
        student: the model to train.
        teacher: whom it is to follow, if anyone.
        args: which terms are active.
        optimizer: what the user passed; None where the Trainer makes one.

    Raises:
        ValueError: naming what does not fit.
    """
    if optimizer is not None and args.critic_learning_rate is not None:
        raise ValueError(
            f"`critic_learning_rate` is {args.critic_learning_rate} and `optimizers` was given; expected one of them. "
            "Give the critic a parameter group in your optimizer, or leave `optimizers` out."
        )
    if teacher is not None:
        _check_teacher(student, teacher, args)
    elif args.needs_teacher:
        active = [f"`{name}`" for name in ("kd_weight", *FEATURE_TERMS) if getattr(args, name)] or ["one of `terms`"]
        raise ValueError(
            f"No teacher was given, but {' or '.join(active)} is above 0. Pass `teacher=`, let the items hold "
            "`teacher_logits` or `teacher_features` (with `teacher=GivenAnswers(…)` where they can only be had one by "
            "one), or set it to 0."
        )


def _check_teacher(student: ExRepForImageClassification, teacher: TeacherSource, args: DistillationArguments) -> None:
    check_apart(student, teacher)
    if args.needs_teacher:
        check_answers(teacher, args.needs_logits, args.needs_features)
    by_loss = (args.metric_for_best_model or "loss").removeprefix("eval_") == "loss"
    if args.load_best_model_at_end and by_loss and teacher.views is not None and not args.ce_weight:
        raise ValueError(
            "`load_best_model_at_end` goes by the evaluation's loss, and there is none: `ce_weight` is 0, and the "
            "teacher's stored answers are for training images. Set `--metric_for_best_model accuracy`."
        )
