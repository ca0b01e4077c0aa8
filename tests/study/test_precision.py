"""A study in the precision that is chosen on a GPU."""

from pathlib import Path

import pytest
import torch

from exrep_hf.training import machine
from tests.studies import run_study


def test_all_trainers_of_a_study_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some train, some evaluate alone, and accelerate refuses a second precision in one process."""
    monkeypatch.setattr(machine, "is_gpu", lambda device: True)
    monkeypatch.setattr(machine, "is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    given = {"max_steps": 2, "teacher_steps": 2, "student_steps": 2, "num_seeds": 1, "controls": ["ce"]}
    results = run_study(tmp_path / "digits", **given)
    assert results["arms"].keys() == {"ce", "exrep"} and 0 <= results["student"]["accuracy"]["mean"] <= 1
