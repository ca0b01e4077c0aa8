"""A study in the precision that is chosen on a GPU."""

from pathlib import Path

import pytest
import torch

from exrep_hf.cli import parse_caching_settings
from exrep_hf.study.caching import cache_teacher
from exrep_hf.training import machine
from tests.studies import run_study


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what follows from a GPU with bfloat16 be chosen on a CPU, which can compute in it."""
    monkeypatch.setattr(machine, "is_gpu", lambda device: True)
    monkeypatch.setattr(machine, "is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")


def test_all_trainers_of_a_study_have_one(tmp_path: Path) -> None:
    """Some train, some evaluate alone, and accelerate refuses a second precision in one process."""
    given = {"max_steps": 2, "teacher_steps": 2, "student_steps": 2, "num_seeds": 1, "controls": ["ce"]}
    results = run_study(tmp_path / "digits", **given)
    assert results["arms"].keys() == {"ce", "exrep"} and 0 <= results["student"]["accuracy"]["mean"] <= 1


def test_answers_are_stored_as_the_teacher_would_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were computed in float32, at half the speed."""
    teacher = str(Path(__file__).parents[2] / "model_cards" / "digits_plain")
    given = ["--teacher", teacher, "--dataset", "digits", "--max_train_samples", "20", "--use_cpu"]
    stored = cache_teacher(parse_caching_settings([*given, "--output_dir", str(tmp_path / "answers")]))
    assert stored.manifest.plan.storage["autocast"] == "bfloat16"
    assert "bfloat16, channels_last: chosen for a GPU" in capsys.readouterr().out
