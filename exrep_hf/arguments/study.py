"""Settings of a study: how often, against what, and what of it is published."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from exrep_hf.arguments.ranges import require


@dataclass
class StudyArguments:
    """How often, and against what, the method is run."""

    _argument_group_name = "study"

    arm: str = field(default="exrep", metadata={"help": "Name of the settings given here, in tables and results."})
    controls: dict | str | None = field(
        default=None,
        metadata={
            "help": "Other arms with the same steps: a mapping from name to settings that differ, in YAML or JSON."
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
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Replace the run that `output_dir` holds; without it that is an error."}
    )

    def __post_init__(self) -> None:
        """Read `controls` and check ranges."""
        require(self.num_seeds >= 1, "num_seeds", self.num_seeds, "≥ 1")
        variants = ("plain", "distiller", "both")
        require(self.variant in variants, "variant", self.variant, f"one of {variants}")
        if isinstance(self.controls, str):
            try:
                self.controls = json.loads(self.controls)
            except json.JSONDecodeError as error:
                raise ValueError(f"`controls` is {self.controls!r}; expected a JSON mapping ({error}).") from error
        controls: Any = self.controls or {}
        for name, changes in controls.items():
            require(isinstance(changes, dict), f"controls.{name}", changes, "a mapping from setting to value")
        require(self.arm not in controls, "arm", self.arm, "a name that `controls` does not use")
        self.controls = controls
