"""Runs of a study in a tracker: named by it, and grouped."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from tests.studies import run_study


class _Tracker(TrainerCallback):
    """Keeps what a tracker would be told when a run begins."""

    seen: list[tuple[str, str]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append((args.project, args.run_name))


def test_runs_are_named_and_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven runs with random names in the project `huggingface` are told apart by nobody."""
    monkeypatch.setattr(_Tracker, "seen", [])
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda _: [_Tracker])
    results = run_study(tmp_path / "mine", controls={}, num_seeds=1)
    assert [name for _, name in _Tracker.seen] == ["mine/teacher", "mine/student-seed42", "mine/exrep-seed42"]
    assert {project for project, _ in _Tracker.seen} == {"mine"}
    assert "project" not in results["configuration"]["training"]
