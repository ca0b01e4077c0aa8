"""Whole studies on real digits, in miniature."""

from pathlib import Path
from typing import Any

import yaml

from exrep_hf.cli import parse_settings
from exrep_hf.study import Study

DIGITS = Path(__file__).with_name("digits.yaml")
SMALL = {
    "teacher_steps": 6,
    "student_steps": 3,
    "max_steps": 4,
    "num_seeds": 2,
    "logging_steps": 2,
    "max_eval_samples": 40,
    "use_cpu": True,
    # A teacher of six steps knows little.
    "no_doctor": True,
    "disable_tqdm": True,
}


def run_study(folder: Path, **changes: Any) -> dict[str, Any]:
    """Run a study of digits with every part, made small, by the code path of the command line."""
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(
        yaml.safe_dump({**yaml.safe_load(DIGITS.read_text()), **SMALL, "output_dir": str(folder), **changes})
    )
    return Study(parse_settings(["--config", str(config)], config)).run()
