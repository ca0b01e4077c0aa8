"""Arms of a study: the same steps under different settings."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from exrep_hf.arguments import DistillationArguments, ModelArguments, StudyArguments

# What makes the arms comparable, or places them; an arm may not change it.
SHARED_SETTINGS = frozenset(
    {
        "max_steps",
        "num_train_epochs",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "output_dir",
        "seed",
        "teacher",
        "student",
        "teacher_steps",
        "student_steps",
    }
)

Settings = TypeVar("Settings", ModelArguments, DistillationArguments)


@dataclass
class Arm:
    """One way to train.

    Attributes:
        name: in tables and results.
        changes: what differs from the settings of the study.
        model_args: the settings of teacher and student under these changes.
        args: the settings of training under these changes.
    """

    name: str
    changes: dict[str, Any]
    model_args: ModelArguments
    args: DistillationArguments


def with_changes(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Copy settings with some of them changed, and check the result.

    Raises:
        ValueError: if a changed setting is out of its range.
    """
    changed = copy.deepcopy(settings)
    for name, value in changes.items():
        present = getattr(settings, name)
        # YAML 1.1 reads 1e-3 as a string.
        setattr(changed, name, float(value) if isinstance(present, float) else value)
    changed.check()
    return changed


def make_arms(model_args: ModelArguments, study_args: StudyArguments, args: DistillationArguments) -> list[Arm]:
    """The controls, then the method itself.

    Raises:
        ValueError: if a control changes a setting that does not exist, or one that all arms have to share.
    """
    of_model = {field.name for field in dataclasses.fields(ModelArguments)}
    of_training = {field.name for field in dataclasses.fields(DistillationArguments) if field.init}
    arms = []
    assert isinstance(study_args.controls, dict)  # read in its __post_init__
    for name, changes in study_args.controls.items():
        unknown = sorted(changes.keys() - of_model - of_training)
        shared = sorted(changes.keys() & SHARED_SETTINGS)
        if unknown or shared:
            raise ValueError(
                f"`controls.{name}` changes {unknown or shared}; "
                + ("there are no such settings." if unknown else "all arms of a study have to share these.")
            )
        arms.append(
            Arm(
                name,
                changes,
                with_changes(model_args, {key: changes[key] for key in changes.keys() & of_model}),
                with_changes(args, {key: changes[key] for key in changes.keys() & of_training}),
            )
        )
    return [*arms, Arm(study_args.arm, {}, model_args, args)]
