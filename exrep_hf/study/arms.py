"""Arms of a study: the same steps under different settings."""

import argparse
import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from transformers import HfArgumentParser

from exrep_hf.arguments import DataArguments, DistillationArguments, ModelArguments, StudyArguments
from exrep_hf.arguments.distillation import FEATURE_TERMS
from exrep_hf.arguments.nearest import did_you_mean
from exrep_hf.arguments.ranges import require
from exrep_hf.training.default_terms import complete_terms
from exrep_hf.training.own_terms import term_settings

# Of training: what makes the arms comparable, or places them; an arm may not change it.
SHARED_SETTINGS = frozenset(
    {
        "max_steps",
        "num_train_epochs",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "output_dir",
        "seed",
        # Read once, when the process starts.
        "channels_last",
        "images_on_device",
        "bf16",
        "fp16",
        "tf32",
        "torch_compile",
        "use_cpu",
        "fsdp",
        "deepspeed",
    }
)

# Of the models, what an arm may have of its own: teacher and starting student are loaded once for all.
MODEL_SETTINGS = frozenset({"distiller", "distiller_channels"})

# Of the images that an arm may have of its own: what it is trained on, and how that is varied.
IMAGE_SETTINGS = frozenset({"train_on", "extra_share", "no_aug", "scale", "ratio", "hflip", "auto_augment"})

ArgumentsT = TypeVar("ArgumentsT", ModelArguments, DataArguments, DistillationArguments)


@dataclass
class Arm:
    """One way to train.

    Attributes:
        name: in tables and results.
        changes: what differs from the settings of the study.
        model_args: the settings of teacher and student under these changes.
        data_args: the settings of the images under these changes.
        args: the settings of training under these changes.
        allow_code: whether classes of its terms may be imported that are not of exrep_hf.
    """

    name: str
    changes: dict[str, Any]
    model_args: ModelArguments
    data_args: DataArguments
    args: DistillationArguments
    allow_code: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the student is published without a distiller: it has none, or learnt to do without."""
        return self.model_args.distiller == "none" or self.args.distiller_share < 1

    @property
    def is_oracle(self) -> bool:
        """Whether the student sees the private images too."""
        return self.data_args.train_on == "all"


def as_flags(settings: dict[str, Any]) -> list[str]:
    """Write settings as flags, so that argparse checks their types like any other flag's.

    Raises:
        ValueError: for a mapping with keys or values that JSON has none of, such as dates.
    """
    flags: list[str] = []
    for key, value in settings.items():
        if value is None:
            continue
        if isinstance(value, list):
            flags += [f"--{key}", *map(str, value)]
        else:
            flags.append(f"--{key}={_as_json(key, value) if isinstance(value, dict) else value}")
    return flags


def _as_json(key: str, value: dict[Any, Any]) -> str:
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ValueError(f"`{key}` holds what is no setting ({error}); expected numbers, text and lists.") from error


def with_changes(settings: ArgumentsT, changes: dict[str, Any], name: str) -> ArgumentsT:
    """Copy settings with some of them changed, read as flags are, and check the result.

    Args:
        settings: of the method.
        changes: of a control.
        name: of that control.

    Raises:
        ValueError: if a changed setting is out of its range.
    """
    changed = copy.deepcopy(settings)
    parser = HfArgumentParser([cast(Any, type(settings))], allow_abbrev=False, exit_on_error=False)
    try:
        read, _ = parser.parse_known_args(as_flags(changes))
    except argparse.ArgumentError as error:
        raise ValueError(f"`controls.{name}` has a value that can't be read: {error}") from error
    for name, value in changes.items():
        setattr(changed, name, None if value is None else getattr(read, name))
    changed.check()
    return changed


def make_arms(
    model_args: ModelArguments, data_args: DataArguments, study_args: StudyArguments, args: DistillationArguments
) -> list[Arm]:
    """Return the controls, then the method itself.

    Where no controls are given they are `ce` and `kd`, but for the one that the arm is called by.

    Raises:
        ValueError: if a control changes a setting that does not exist, or one that all arms have to share.
    """
    of_model = {field.name for field in dataclasses.fields(ModelArguments)}
    of_training = {field.name for field in dataclasses.fields(DistillationArguments) if field.init}
    of_images = {field.name for field in dataclasses.fields(DataArguments)}
    arms = []
    main = study_args.arm or args.preset
    named = _named_controls(model_args, args)
    assert not isinstance(study_args.controls, str)  # read in its __post_init__
    controls = dict.fromkeys(named) if study_args.controls is None else study_args.controls
    for name, given in controls.items():
        changes = named[name] if given is None else given
        if name == main and study_args.controls is None:
            continue
        require(name != main, "controls", name, "other names than the arm's own: name that with `arm`")
        unknown = sorted(changes.keys() - of_model - of_training - of_images)
        of_all = SHARED_SETTINGS | (of_images - IMAGE_SETTINGS) | (of_model - MODEL_SETTINGS)
        shared = sorted(changes.keys() & of_all)
        if unknown:
            hint = did_you_mean(unknown[0], sorted(of_model | of_training | of_images))
            raise ValueError(f"`controls.{name}` changes {unknown}; there are no such settings{hint}.")
        if shared:
            raise ValueError(f"`controls.{name}` changes {shared}; all arms of a study have to share these.")
        arms.append(
            Arm(
                name,
                changes,
                with_changes(model_args, {key: changes[key] for key in changes.keys() & of_model}, name),
                with_changes(data_args, {key: changes[key] for key in changes.keys() & of_images}, name),
                with_changes(args, {key: changes[key] for key in changes.keys() & of_training}, name),
            )
        )
        if given is not None and (kept := _kept_of_method(arms[-1], given)):
            raise ValueError(
                f"`controls.{name}` keeps {kept} of the method, and would not be what {name!r} stands for. Give these "
                f"too (0.0), leave its whole value out (`{{{name}: , …}}`), or call it otherwise."
            )
    _check_names([*(arm.name for arm in arms), main])
    _check_oracle(arms, data_args, args)
    # A copy: what is chosen for an arm is no setting of the study.
    arms = [*arms, Arm(main, {}, model_args, data_args, copy.deepcopy(args))]
    for arm in arms:
        arm.allow_code = study_args.allow_code
        arm.args.terms = term_settings(arm.args.own_terms, arm.allow_code) or None
    return arms


def _named_controls(model_args: ModelArguments, args: DistillationArguments) -> dict[str, dict[str, Any]]:
    """Return labels alone and plain distillation as changes of any arm, with its optimizer, images and length."""
    logits_and_labels = {"ce_weight": 1.0, "kd_weight": 1.0} | dict.fromkeys(FEATURE_TERMS, 0.0)
    # Stored answers are for the views that the arm trains on, mixtures included.
    views = {} if model_args.teacher_cache is not None else {"mixup": 0.0, "cutmix": 0.0}
    own = {"terms": None} if args.terms else {}
    kd = logits_and_labels | {"distiller": "none"} | views | own
    return {"ce": kd | {"kd_weight": 0.0}, "kd": kd}


def _kept_of_method(arm: Arm, given: dict[str, Any]) -> list[str]:
    """Return which terms a control called `ce` or `kd` must not have, and has as nothing is said of them."""
    foreign = {"ce": ("kd_weight", *FEATURE_TERMS), "kd": FEATURE_TERMS}.get(arm.name, ())
    args = complete_terms(arm.args, True, None, None).args
    return [term for term in foreign if term not in given and getattr(args, term)]


def equal_arms(first: Arm, second: Arm) -> bool:
    """Return whether two arms would train the same student."""
    # A term that is chosen and one that is given may be the same.
    first_args, second_args = (complete_terms(arm.args, True, None, None).args.to_dict() for arm in (first, second))
    return (first.model_args, first.data_args, first_args) == (second.model_args, second.data_args, second_args)


def _check_names(names: Sequence[str]) -> None:
    """Make sure that each arm has a folder of its own, also where capitals make no difference."""
    spelt = [name.casefold() for name in names]
    if twice := sorted(name for name in names if spelt.count(name.casefold()) > 1):
        raise ValueError(f"The arms {twice} have one name; expected names that differ in more than capitals.")


def _check_oracle(controls: list[Arm], data_args: DataArguments, args: DistillationArguments) -> None:
    oracles = [arm.name for arm in controls if arm.is_oracle]
    if data_args.train_on == "all":
        raise ValueError(
            "`train_on` is 'all' for the method itself; expected 'public': its student must not see private images. "
            "Put `train_on: all` into one of `controls`."
        )
    if oracles and args.num_train_epochs is not None and args.max_steps <= 0:
        raise ValueError(
            f"`controls.{oracles[0]}` trains on all images, whose epochs are longer, and `num_train_epochs` is "
            f"{args.num_train_epochs}; expected a number of steps, the same for all arms. Give `--max_steps`."
        )
    if oracles and not (data_args.private_fraction or data_args.num_public):
        raise ValueError(
            f"`controls.{oracles[0]}` has `train_on: all`, but no image is private. Give `--num_public` or "
            "`--private_fraction`, or leave that arm out."
        )
