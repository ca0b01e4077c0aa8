"""Which arms are run: a common length, and the default controls that can be run in reasonable time."""

import dataclasses
from typing import Any

from datasets import Dataset
from transformers.trainer_utils import IntervalStrategy

from exrep_hf.data.partition import DataPartition
from exrep_hf.main_process import decided_by_main
from exrep_hf.study.arms import Arm, equal_arms
from exrep_hf.study.run import make_trainer
from exrep_hf.study.stages import Classifier, without_traces
from exrep_hf.teacher import TeacherSource
from exrep_hf.training.default_settings import FEW_STEPS, complete, planned_steps
from exrep_hf.training.notices import ClockCallback, NoticeCallback, in_words

LONGEST_CONTROLS = 2 * 3600
"""Seconds that controls may take without being asked for."""

# Of a run shorter than this, a trial of its steps would be a noticeable part.
_WORTH_A_TRIAL = 100
_WARM_UP, _TIMED = 2, 4


def share_length(arms: list[Arm], num_images: int, starts_from_nothing: bool) -> None:
    """Give all arms, in place, the length that is chosen for the method where none is given."""
    args = arms[-1].args
    if args.max_steps <= 0 and args.num_train_epochs is None:
        steps = complete(args, starts_from_nothing, num_images).args.max_steps
        for arm in arms:
            arm.args.max_steps = steps


def controls_left_out(
    arms: list[Arm],
    start: Classifier,
    data: DataPartition,
    seeds: list[int],
    teacher: TeacherSource | None,
    are_default: bool,
) -> dict[str, str]:
    """Check that every arm can be run, and return which controls are left out, with the reason.

    Args:
        arms: the controls, then the method.
        start: the starting student.
        data: the images.
        seeds: those to check the arms with.
        teacher: if there is one.
        are_default: whether nobody asked for these controls.

    Raises:
        ValueError: if the method, or a control that was asked for, can't be run.
    """
    left_out = {}
    for arm in arms:
        is_control = arm is not arms[-1]
        if are_default and is_control and equal_arms(arm, arms[-1]):
            left_out[arm.name] = f"it is what `{arms[-1].name}` does"
            continue
        for seed in seeds:
            _, images = data.parts(seed)
            try:
                make_trainer(arm, start, images, data, seed, teacher)
            except ValueError as error:
                if not (are_default and is_control):
                    raise ValueError(f"The arm `{arm.name}` can't be run with seed {seed}. {error}") from error
                left_out[arm.name] = str(error)
                break
    return left_out


def too_long(arms: list[Arm], num_seeds: int, seconds_per_run: float) -> dict[str, str]:
    """Return the controls, with the reason, if they would take longer than `LONGEST_CONTROLS` in all."""
    names = [arm.name for arm in arms[:-1]]
    predicted = seconds_per_run * num_seeds * len(names)
    if predicted <= LONGEST_CONTROLS:
        return {}
    reason = (
        f"{in_words(predicted)} in all, more than two hours: ask for them with `--controls '[{', '.join(names)}]'`"
    )
    return dict.fromkeys(names, reason)


def seconds_of_a_run(
    arm: Arm, start: Classifier, images: Dataset, data: DataPartition, seed: int, teacher: TeacherSource | None
) -> float | None:
    """Try a few steps of an arm, on a copy of the student, and return how long all of them will take.

    Returns:
        Seconds, the same on all processes; None where the run is too short to be worth a trial.
    """
    num_images = len(data.training_images(seed, arm.data_args))
    args = without_traces(complete(arm.args, arm.model_args.student_from_scratch, num_images).args)
    steps = planned_steps(args, num_images)
    if steps < _WORTH_A_TRIAL:
        return None
    args.max_steps = _WARM_UP + _TIMED
    args.logging_strategy = IntervalStrategy.NO
    args.disable_tqdm, args.report_to = True, []
    clock = ClockCallback(_WARM_UP, _TIMED)
    trial = make_trainer(dataclasses.replace(arm, args=args), start, images, data, seed, teacher)
    trial.remove_callback(NoticeCallback)
    trial.add_callback(clock)
    trial.train()
    return decided_by_main(lambda: (clock.seconds or 0.0) * steps)


def remedy(record: dict[str, Any], arm: Arm) -> str | None:
    """Return what to do about a run that ended below its start; None if it did not."""
    before, after = record["before"]["accuracy"], record["after"]["accuracy"]
    if after >= before:
        return None
    args, chosen = arm.args, record["chosen"]
    told = f"`{arm.name}` ends below its start: top-1 {before:.3f} → {after:.3f}. "
    if (args.mixup or args.cutmix) and record["steps"] < FEW_STEPS:
        return (
            told + f"{record['steps']} steps are few for mixed images: train longer, or with `--mixup 0 --cutmix 0`."
        )
    if args.ce_weight and args.kd_weight:
        return told + "Labels often hurt beside a teacher: try `--ce_weight 0`."
    if chosen["freeze_batch_norm"]:
        return told + "Try `--freeze_batch_norm false`."
    return told + f"Try a lower learning rate, such as `--learning_rate {chosen['learning_rate'] / 3:.1g}`."
