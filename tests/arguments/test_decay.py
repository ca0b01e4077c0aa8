"""Settings of a learning rate that falls in steps."""

from pathlib import Path
from typing import Any

import pytest

from exrep_hf import DistillationArguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_epochs": 0}, "`decay_epochs` is 0; expected a finite number > 0"),
        ({"decay_epochs": 2, "decay_rate": 0}, "`decay_rate` is 0; expected a finite number > 0 and ≤ 1"),
        ({"decay_rate": 1.2}, "`decay_rate` is 1.2"),
        ({"lr_scheduler_type": "cosine"}, "`decay_epochs` is 2.4 and `lr_scheduler_type` 'cosine'; expected one or"),
    ],
)
def test_bad_settings(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Two schedules on top of each other would be a third that nobody asked for."""
    with pytest.raises(ValueError, match=message):
        DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path), **changes)


def test_the_remedies_work(tmp_path: Path) -> None:
    """What an error advises has to be accepted, also from flags, which can't say None."""
    for changes in ({"decay_rate": 1.0}, {"decay_epochs": None}):
        args = DistillationArguments.from_preset(
            "exrep-paper", output_dir=str(tmp_path), lr_scheduler_type="cosine", **changes
        )
        assert args.lr_scheduler_type == "cosine"
    warm = DistillationArguments(str(tmp_path), decay_epochs=2, lr_scheduler_type="constant_with_warmup")
    assert (warm.decay_epochs, warm.decay_rate) == (2, 0.97)
