"""The students that are shipped do what their cards say."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoImageProcessor, AutoModelForImageClassification

from exrep_hf.data import DistillationDataset, Preprocessing, ViewTransform, collate_distillation, load_images

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "model_cards").glob("*/config.json"))


def test_there_are_students() -> None:
    """An empty folder would make the checks below pass on nothing."""
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_claims_are_reproduced(folder: Path) -> None:
    """A card whose numbers belong to other weights is worse than no card."""
    data: Any = ModelCard.load(folder / "README.md").data
    claimed = {(claim.dataset_name, claim.metric_type): claim.metric_value for claim in data.eval_results}
    ((name, _), *_) = claimed
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    preprocessing = Preprocessing.from_image_processor(AutoImageProcessor.from_pretrained(folder))
    test = DistillationDataset(load_images(name, "test"), ViewTransform(preprocessing), "image", "label")
    batch = collate_distillation(test.__getitems__(range(len(test))))
    with torch.no_grad():
        logits = model(batch["pixel_values"]).logits
    ranked = logits.topk(5).indices == batch["labels"].unsqueeze(1)
    assert ranked[:, 0].double().mean().item() == pytest.approx(claimed[name, "accuracy"], abs=1e-6)
    assert ranked.any(1).double().mean().item() == pytest.approx(claimed[name, "top5_accuracy"], abs=1e-6)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_nothing_of_the_machine_is_in_it(folder: Path) -> None:
    """What is pushed must not name paths or tokens."""
    for path in folder.iterdir():
        content = path.read_bytes()
        for trace in (str(Path.home()), tempfile.gettempdir() + "/", "hf_token"):
            assert trace.encode() not in content, (path.name, trace)
