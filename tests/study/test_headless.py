"""A study, and stored answers, of a teacher without a head."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from exrep_hf import CachedTeacher
from exrep_hf.arguments import ModelArguments
from exrep_hf.cli import parse_caching_settings
from exrep_hf.study.caching import cache_teacher
from exrep_hf.study.stages import Classifier, ask_online, in_float32
from tests.families import SIZE, of_transformers
from tests.studies import DIGITS, run_study

TEACHER: dict[str, Any] = {"teacher_steps": 0, "teacher_from_scratch": False, "image_size": SIZE}
FEATURES = {"kd_weight": 0.0, "crd_weight": 0.0, "feature_weight": 1.0, "num_seeds": 1, "controls": {}}


def processor() -> Any:
    return transformers.BitImageProcessor(size={"height": SIZE, "width": SIZE}, do_center_crop=False)


@pytest.fixture
def backbone(tmp_path: Path) -> str:
    folder = tmp_path / "dinov2"
    of_transformers("Dinov2Model").save_pretrained(folder)
    processor().save_pretrained(folder)
    return str(folder)


def test_a_study_of_features(backbone: str, tmp_path: Path, capsys: Any) -> None:
    """There is no accuracy to be between, and all else is there; it goes on only as it was begun."""
    how = {"teacher_features": "mean", "teacher_dtype": "bfloat16", "teacher_batch_size": 3}
    settings = {"teacher": backbone, **TEACHER, **FEATURES, **how}
    results = run_study(tmp_path / "out", **settings)
    assert "parameters in bfloat16, 0.00 GiB" in capsys.readouterr().out
    assert results["teacher"]["accuracy"] is None and results["teacher"]["cost"]["parameters"] > 0
    (run,) = results["arms"]["exrep"]["runs"]
    assert run["teacher"] is None and run["gap_recovered"] is None
    assert "loss_feature" in run["history"][0]
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"].items() >= how.items()
    for name, value, then in (("features", "cls", "mean"), ("dtype", "float32", "bfloat16")):
        changed = settings | {f"teacher_{name}": value, "resume_from_checkpoint": "true"}
        with pytest.raises(ValueError, match=f"had other settings: `teacher_{name}` {then} then, "):
            run_study(tmp_path / "out", **changed)


def test_stored_features_of_a_study(backbone: str, tmp_path: Path, capsys: Any) -> None:
    """Stored alone, by the command's own code, and trained on."""
    common = ["--config", str(DIGITS), "--use_cpu", "true", "--max_eval_samples", "40", "--disable_tqdm", "true"]
    flags = ["--teacher", backbone, "--teacher_steps", "0", "--teacher_from_scratch", "false"]
    flags += ["--image_size", str(SIZE), "--teacher_features", "cls", "--output_dir", str(tmp_path / "answers")]
    with pytest.raises(ValueError, match="`top_k` is 3, and the teacher, a OnlineTeacher, gives no logits"):
        cache_teacher(parse_caching_settings([*common, *flags, "--top_k", "3"]))
    cached = cache_teacher(parse_caching_settings([*common, *flags]))
    told = capsys.readouterr().out
    assert "parameters in float32" in told and "top-1" not in told
    assert (cached.num_labels, cached.feature_dim) == (None, 16)
    assert cached.manifest.summary["evaluation"] is None and cached.manifest.summary["cost"]["parameters"] > 0
    assert cached.manifest.plan.teacher["pooling"] == "cls"
    results = run_study(tmp_path / "out", teacher=None, teacher_cache=str(tmp_path / "answers"), **TEACHER | FEATURES)
    assert results["teacher"]["answers"] == CachedTeacher(tmp_path / "answers").fingerprint
    assert results["teacher"]["accuracy"] is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "auto"])
def test_the_type_of_a_teacher(dtype: str) -> None:
    """An evaluation as of a student makes weights float32: of a copy, where they are not."""
    teacher = Classifier(of_transformers("ResNetForImageClassification").to(torch.float16), processor())
    source = ask_online(teacher, ModelArguments(teacher_dtype=dtype, teacher_batch_size=2))  # type: ignore[arg-type]
    expected = torch.float16 if dtype == "auto" else getattr(torch, dtype)
    assert {each.dtype for each in source.model.parameters()} == {expected}
    copied = in_float32(teacher)
    assert (copied.classifier is teacher.classifier) == (dtype == "float32")
    assert source.batch_size == 2
