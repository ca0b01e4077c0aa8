"""The figures that a resumed run reports of itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeTrainer = Callable[..., Any]


@pytest.mark.parametrize("logging_steps", [1, 3])
def test_training_loss_is_of_the_steps_since_resuming(
    logging_steps: int, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Steps before the checkpoint, counted among the others, would make a resumed run look worse than it was."""
    settings: dict[str, Any] = {"max_steps": 5, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(logging_steps=1, **settings)
    outcome = whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    assert len(losses) == 5 and len(set(losses)) == 5
    assert outcome.training_loss == pytest.approx(sum(losses) / 5)
    resumed = make_trainer(logging_steps=logging_steps, **settings)
    outcome = resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert outcome.training_loss == pytest.approx(sum(losses[2:]) / 3)
