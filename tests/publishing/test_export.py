"""A student outside Python's ML stack: the same answers, for any number of images, from the written steps alone."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification, pipeline

from exrep_hf import ExRepForImageClassification
from exrep_hf.arguments import ExportArguments
from exrep_hf.commands.export import main
from exrep_hf.data import Preprocessing
from exrep_hf.publishing.evaluate_student import load_published
from exrep_hf.publishing.export import export_student
from exrep_hf.publishing.export_program import can_export
from exrep_hf.publishing.exported_classifier import open_export

pytestmark = pytest.mark.skipif(not can_export(), reason="transformers' exporters need a later PyTorch")
SIZE = 32
PUBLISHING = Path(__file__).parents[2] / "exrep_hf" / "publishing"
PREPROCESSING = Preprocessing(SIZE, SIZE, 40, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def student_in(folder: Path, kind: str, distiller: Any) -> Path:
    """Write a student whose logits depend on its images."""
    if kind == "timm":
        network: Any = timm.create_model("test_efficientnet", num_classes=4)
    else:
        names = {0: "ant", 1: "bee", 2: "cat", 3: "dog"}
        network = ResNetForImageClassification(ResNetConfig(depths=[1], hidden_sizes=[8], id2label=names))
    model = ExRepForImageClassification.from_backbone(network, distiller, distiller_channels=4, image_size=SIZE)
    model.train()
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.05 * torch.randn_like(each))  # a distiller starts at zero
        for _ in range(5):
            model(torch.randn(16, 3, SIZE, SIZE))
    (model if distiller else model.without_distiller()).save_pretrained(folder)
    PREPROCESSING.to_image_processor().save_pretrained(folder)
    return folder


def logits_of(folder: Path, images: Tensor) -> Tensor:
    with torch.no_grad():
        return AutoModelForImageClassification.from_pretrained(folder).eval()(images).logits


@pytest.mark.parametrize(
    ("kind", "distiller", "form"),
    [
        ("timm", "light", "onnx"),
        ("transformers", None, "onnx"),
        ("timm", None, "torch"),
        ("transformers", "light", "torch"),
    ],
)
def test_the_same_logits_for_any_number_of_images(
    kind: str, distiller: Any, form: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one image and of five, with a distiller and without; what is printed is the report alone."""
    folder = student_in(tmp_path / "student", kind, distiller)
    capsys.readouterr()
    main([str(folder), "--format", form])
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert "Failed to infer the signature" not in shown.err
    exported = open_export(Path(report["files"][0]))
    for count in (1, 5):
        # Plain students of timm are fed by their own settings.
        _, wanted = load_published(folder, torch.device("cpu"))
        images = torch.randn(count, 3, wanted.height, wanted.width)
        expected = logits_of(folder, images)
        assert expected.std() > 1e-3
        torch.testing.assert_close(exported(images).logits, expected, rtol=1e-5, atol=1e-5)
    assert {path.name for path in (folder / "export").iterdir()} == {Path(each).name for each in report["files"]}
    assert not list(folder.glob(".export*"))
    with pytest.raises(ValueError, match="already; expected a folder without. Add `--overwrite`"):
        export_student(ExportArguments(str(folder), form))
    if form == "onnx" and distiller is None:
        check_written_steps(folder)
        check_what_a_card_says(folder / "export")
        check_exported_again(folder)


def check_written_steps(folder: Path) -> None:
    """Follow preprocessing.json with Pillow and numpy, and compare with transformers' pipeline."""
    told = json.loads((folder / "export" / "preprocessing.json").read_text())
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((70, 90), Image.Resampling.BICUBIC).save(folder / "image.png")
    image = Image.open(folder / "image.png").convert(told["input"]["channels"])
    edge, (width, height) = told["resize"]["shorter_edge"], image.size
    short = min(width, height)
    image = image.resize(
        (edge * width // short, edge * height // short), getattr(Image.Resampling, told["interpolation"].upper())
    )
    rows, columns = told["crop"]["height"], told["crop"]["width"]
    pixels = np.asarray(image)
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    values = pixels[top : top + rows, left : left + columns] / told["divide_by"]
    values = (values - np.array(told["mean"])) / np.array(told["std"])
    batch = values.transpose(2, 0, 1)[None].astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "export" / "model.onnx"))
    logits = session.run([told["output"]["name"]], {told["input"]["name"]: batch})[0][0]
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    expected = pipeline("image-classification", str(folder), top_k=None)(str(folder / "image.png"))
    scores = {each["label"]: each["score"] for each in expected}
    # Pillow and torchvision round a pixel apart by one level of 255 at most.
    assert dict(zip(told["labels"], shares, strict=True)) == pytest.approx(scores, abs=2e-3)


def check_what_a_card_says(exported: Path) -> None:
    """Run the card's lines of Python."""
    [lines] = re.findall(r"```python\n(import onnxruntime.*?)```", (PUBLISHING / "card.md").read_text(), re.DOTALL)
    known: dict[str, Any] = {"images": np.zeros((3, 3, SIZE, SIZE), np.float32)}
    exec(lines.replace("exported/", f"{exported}/"), known)
    assert known["logits"].shape == (3, 4)


def check_exported_again(folder: Path) -> None:
    """Of an earlier student nothing stays; and all of it, if the new one can't be exported."""
    exported = folder / "export"
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    (exported / "model_int8.onnx").write_bytes(b"of another student")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="no such operator"):
        patch.setattr("exrep_hf.publishing.export.write_onnx", fail)
        export_student(ExportArguments(str(folder), overwrite=True))
    assert {path.name for path in exported.iterdir()} == {*before, "model_int8.onnx"}
    assert all((exported / name).read_bytes() == content for name, content in before.items())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="no such operator"):
        patch.setattr("exrep_hf.publishing.export.write_onnx", fail)
        export_student(ExportArguments(str(folder), output_dir=str(folder / "elsewhere")))
    assert not list(folder.glob("*elsewhere*"))
    export_student(ExportArguments(str(folder), overwrite=True))
    assert {path.name for path in exported.iterdir()} == before.keys()


def fail(*_: Any) -> None:
    raise RuntimeError("no such operator")


def test_no_student_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, and by name."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no student that can be exported: it has no config.json, model.safetensors"):
        export_student(ExportArguments(str(tmp_path / "empty")))
    folder = student_in(tmp_path / "student", "transformers", None)
    with pytest.raises(ValueError, match="has no results.json, which names the images"):
        export_student(ExportArguments(str(folder), check=True))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, each in weights.items() if each.is_floating_point())
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="NaN or infinite values"):
        export_student(ExportArguments(str(folder)))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "exrep_hf.publishing.export_program.find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(ValueError, match=r"needs onnxruntime, .* `pip install 'exrep_hf\[export\]'"):
        export_student(ExportArguments(str(folder), check=True))
    assert not (folder / "export").exists()


def test_settings_that_contradict(tmp_path: Path) -> None:
    """At the command line."""
    with pytest.raises(ValueError, match="`quantize` is 'int8'; expected no value with `--format torch`"):
        ExportArguments("student", "torch", quantize="int8")
