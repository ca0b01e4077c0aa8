"""Whole studies on real digits, in miniature."""

from pathlib import Path
from typing import Any

import yaml

from exrep_hf.cli import parse_settings
from exrep_hf.study import Study

DIGITS = Path(__file__).parents[1] / "recipes" / "digits.yaml"
SMALL = {
    "teacher_steps": 6,
    "student_steps": 3,
    "max_steps": 4,
    "num_seeds": 2,
    "logging_steps": 2,
    "max_eval_samples": 40,
    "use_cpu": True,
    "disable_tqdm": True,
}

_UNMIXED = {"mixup": 0.0, "cutmix": 0.0}
_LOGITS_ALONE = {"crd_weight": 0.0, "adversarial_weight": 0.0, "distiller": "none"}
EVERY_PART = {
    "distiller": "light",
    "distiller_channels": 8,
    "crd_weight": 0.02,
    "adversarial_weight": 0.01,
    "critic_weight": 0.01,
    "num_negatives": 64,
    **_UNMIXED,
    "controls": {"ce": {**_LOGITS_ALONE, "ce_weight": 1.0, "kd_weight": 0.0}, "kd": _LOGITS_ALONE},
}
"""A method with all that a study may have to deal with: a distiller, a memory bank, a critic."""


def run_study(folder: Path, **changes: Any) -> dict[str, Any]:
    """Run the digits recipe, made small and with every part, by the code path of the command line."""
    settings = yaml.safe_load(DIGITS.read_text()) | SMALL | EVERY_PART | {"output_dir": str(folder)} | changes
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(yaml.safe_dump(settings))
    return Study(parse_settings(["--config", str(config)], config)).run()
