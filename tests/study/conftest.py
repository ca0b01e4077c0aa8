"""What tests of studies share."""

from pathlib import Path
from typing import Any

import yaml

from tests.studies import DIGITS, SMALL


def flags_of(folder: Path, **changes: Any) -> list[str]:
    """Flags of a study of digits, which begins with the doctor's look, with changes."""
    config = folder.parent / f"{folder.name}.yaml"
    small = {name: value for name, value in SMALL.items() if name not in ("no_doctor", "max_steps")}
    settings = {**yaml.safe_load(DIGITS.read_text()), **small, "output_dir": str(folder), **changes}
    config.write_text(yaml.safe_dump(settings))
    return ["--config", str(config)]
