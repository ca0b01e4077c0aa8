"""The benchmark of the data path runs, and both sides end at the same kind of batch."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from exrep_hf.data import Mixing

SCRIPT = Path(__file__).parents[3] / "recipes" / "benchmarks" / "data_path.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("data_path", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "data_path", module)
    spec.loader.exec_module(module)
    return module


def test_smoke(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "x.json"
    script.main(["--smoke", "--device", "cpu", "--output", str(output)])
    rows = json.loads(output.read_text())["rows"]
    assert [row["target"] for row in rows] == [1.0, 0.9, 0.8, 0.8, 0.8, 0.8]
    assert all(row["ratio"]["value"] > 0 and row["verdict"] == "unclear" for row in rows)


def test_both_sides(script: ModuleType, tmp_path: Path) -> None:
    """Images of one kind, in as many batches, with values of one distribution."""
    images = script.write_images(tmp_path, 8)
    device = torch.device("cpu")
    theirs = [pixels for pixels, _ in script.of_timm(tmp_path, 4, device)]
    for mixing, views in ((Mixing(), None), (script.MIXING, 2)):
        ours = list(script.Ours(images, (script.LARGE,), mixing, views, 4, device))
        assert len(ours) == len(theirs) == 2
        for own, other in zip(ours, theirs, strict=True):
            assert own["pixel_values"].shape == other.shape == (4, 3, 240, 240)
            assert own["teacher_pixel_values"].shape == (4, 3, 300, 300)
            assert own["pixel_values"].dtype == own["teacher_pixel_values"].dtype == other.dtype == torch.float32
        means = [torch.cat(each).mean().item() for each in ([own["pixel_values"] for own in ours], theirs)]
        assert means[0] == pytest.approx(means[1], abs=0.3)
