"""Settings of a study: how often, against what, and what of it is published."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from exrep_hf.arguments.ranges import require, require_number
from exrep_hf.arguments.settings_file import read_yaml

NAMED_CONTROLS = ("ce", "kd")
_ARM_NAME = re.compile(r"[\w+=][\w .+=-]{0,63}(?<! )(?<!\.)")


@dataclass
class StudyArguments:
    """How often, and against what, the method is run."""

    _argument_group_name = "study"

    arm: str | None = field(
        default=None,
        metadata={
            "help": "Name of the settings given here, in tables, results and card; that of the preset where not given."
        },
    )
    controls: dict | str | None = field(
        default=None,
        metadata={
            "help": "What the method is compared with, by the same steps: a mapping from name to settings that differ "
            "(YAML), names of `ce` (labels) and `kd` (labels and logits), or `none`. Not given: `ce` and `kd`, where "
            "they take no more than two hours."
        },
    )
    num_seeds: int = field(
        default=1, metadata={"help": "Run each arm with this many seeds: of weights, order and public images."}
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the student for its model card, e.g. `apache-2.0`."}
    )
    variant: Literal["plain", "distiller", "both"] = field(
        default="both",
        metadata={
            "help": "What is published where training made the distiller removable: the `plain` student, the one with "
            "its `distiller`, or `both`, the latter in the sub-folder `with_distiller`."
        },
    )
    push_code: bool = field(
        default=False,
        metadata={
            "help": "Publish the code of a student with a distiller too, for `trust_remote_code` without exrep_hf."
        },
    )
    allow_code: bool = field(
        default=False,
        metadata={
            "help": "Import classes of `terms` that are not of exrep_hf, which runs their code; a flag alone sets it."
        },
    )
    no_doctor: bool = field(
        default=False,
        metadata={"help": "Begin without the short look of `exrep doctor`, which ends a run that would be wasted."},
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Replace the run that `output_dir` holds; without it that is an error."}
    )

    def __post_init__(self) -> None:
        """Read `controls` and check ranges."""
        require_number("num_seeds", self.num_seeds, 1, whole=True)
        variants = ("plain", "distiller", "both")
        require(self.variant in variants, "variant", self.variant, f"one of {variants}")
        self.controls = _read_controls(self.controls)
        if self.arm is not None:
            check_arm_name(self.arm)
        for name in self.controls or ():
            check_arm_name(name, "controls")


def check_arm_name(name: Any, setting: str = "arm") -> None:
    """Make sure that an arm's name can be that of a folder, on any machine.

    Args:
        name: of an arm.
        setting: that it stands in.

    Raises:
        ValueError: if it can't.
    """
    fits = isinstance(name, str) and _ARM_NAME.fullmatch(name) is not None
    require(
        fits, setting, name, "a name of at most 64 letters, digits, blanks and `_ . + = -`, the first no `.` or `-`"
    )


def _read_controls(given: Any) -> dict[str, Any] | None:
    """Return the controls by name, each with its changes or None for those of its name; None: not given."""
    if isinstance(given, str):
        given = read_yaml(given, f"`controls`, {given!r},")
        if given is None or given == "none":
            return {}
    if given is None:
        return None
    named: Any = [given] if isinstance(given, str) else given
    if isinstance(named, list) and all(isinstance(name, str) for name in named):
        named = dict.fromkeys(named)
    require(isinstance(named, dict), "controls", given, "a mapping from name to settings, names, or `none`")
    for name, changes in named.items():
        known = changes is None and name in NAMED_CONTROLS
        expected = f"a mapping from setting to value, or nothing for one of {NAMED_CONTROLS}"
        require(known or isinstance(changes, dict), f"controls.{name}", changes, expected)
    return named
