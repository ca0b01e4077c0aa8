"""The transfer of a distiller, in miniature."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from exrep_hf import ExRepForImageClassification
from exrep_hf.data import Preprocessing
from exrep_hf.models import load_classifier

SCRIPT = Path(__file__).parents[3] / "recipes" / "benchmarks" / "distiller_transfer.py"


def test_with_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each probability starts from the same weights and images: one that changes no image gives the same student."""
    spec = importlib.util.spec_from_file_location("distiller_transfer", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    student = ExRepForImageClassification.from_backbone(
        load_classifier("timm/test_efficientnet", num_labels=3, pretrained=False),
        distiller="light",
        distiller_channels=4,
        image_size=16,
    )
    assert student.input_distiller is not None
    torch.nn.init.normal_(student.input_distiller.to_residual.weight)
    student.save_pretrained(tmp_path / "student")
    whole = Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.5,) * 3)
    whole.to_image_processor().save_pretrained(tmp_path / "student")
    output = tmp_path / "results" / "transfer.json"
    flags = ["--distiller", str(tmp_path / "student"), "--p", "0", "1e-9", "1", "--num_public", "60", "--steps", "8"]
    script.main([*flags, "--num_seeds", "2", "--output", str(output)])
    content = json.loads(output.read_text())
    outcomes = {p: summary["seeds"] for p, summary in content["accuracy"].items()}
    assert list(outcomes) == ["0.0", "1e-09", "1.0"] and all(len(each) == 2 for each in outcomes.values())
    assert outcomes["0.0"] == outcomes["1e-09"] != outcomes["1.0"]
    assert str(tmp_path) not in output.read_text()
    assert "top-1 %" in capsys.readouterr().out
