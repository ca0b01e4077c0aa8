"""The example of an app, started and asked over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from transformers import ViTConfig, ViTImageProcessor, ViTModel, pipeline

import exrep_hf  # noqa: F401
from exrep_hf.data import load_images
from tests.recipes.test_examples import EXAMPLES, example

gradio = pytest.importorskip("gradio", reason="the extra `app` is not installed")
# One of them with its distiller, as an app has to load it too.
MODELS = [str(EXAMPLES.parents[1] / "model_cards" / name) for name in ("digits_plain", "digits")]


def test_both_answers_and_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pipelines answer, of one image; and of a folder those images, with both answers, that they disagree about."""
    from gradio_client import Client, handle_file

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    images = tmp_path / "images" / "some"
    images.mkdir(parents=True)
    for number, row in enumerate(load_images("digits")["test"].select(range(60))):
        row["image"].convert("RGB").save(images / f"{number:02}.png")
    (images / "notes.txt").write_text("no image")
    paths = sorted(images.glob("*.png"))
    answers = [pipeline("image-classification", name, top_k=5)(list(map(str, paths))) for name in MODELS]
    app: Any = example("app").make_app(*MODELS, str(tmp_path / "images"))
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(tmp_path)])
    try:
        client = Client(url, verbose=False)
        told = client.predict(handle_file(paths[0]), api_name="/answers")
        shown = client.predict(api_name="/differing")
    finally:
        app.close()
    for mine, theirs in zip(told, answers, strict=True):
        scores = {each["label"]: each["confidence"] for each in mine["confidences"]}
        assert scores == pytest.approx({each["label"]: each["score"] for each in theirs[0]}, abs=1e-4)
    first = [(own[0]["label"], other[0]["label"]) for own, other in zip(*answers, strict=True)]
    differing = [f"student: {own}, teacher: {other}" for own, other in first if own != other]
    assert [each["caption"] for each in shown] == differing and 0 < len(differing) < 24


def test_a_teacher_without_a_classifier(tmp_path: Path) -> None:
    """Its answers would be those of random weights."""
    headless = ViTModel(
        ViTConfig(image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    headless.save_pretrained(tmp_path / "headless")
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match="headless"):
        example("app").make_app(MODELS[0], str(tmp_path / "headless"), str(tmp_path))
