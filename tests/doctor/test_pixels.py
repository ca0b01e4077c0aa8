"""Images that are not what a network was trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from timm.models import save_for_hf
from transformers import BitImageProcessor

from exrep_hf import OnlineTeacher
from exrep_hf.doctor import QUICK, examine
from exrep_hf.models import load_teacher_network
from tests.doctor.conftest import Coloured, told
from tests.training.conftest import CLASSES, image_rows

Make = Callable[..., Any]


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Coloured:
    rows = Coloured()
    rows.images = change(rows.images)
    return rows


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda images: 255 * images, "deviations of"),
        (lambda images: images + 100, "far from 0 and 1"),
        (lambda images: 1e-4 * images, "hardly anything varies"),
        (lambda images: images / 0, "the student's pixels are not finite"),
        (lambda images: images.flip(1), "with their channels in reverse order: it gets BGR for RGB"),
    ],
)
def test_tensors(change: Callable[[torch.Tensor], torch.Tensor], what: str, patient: Make) -> None:
    """Of a user's own data set, which nobody else normalises."""
    assert what in told(examine(patient(train_dataset=changed(change))), "waste")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that says how it wants its images: 32 pixels, mean and deviation of 0.5."""
    folder = tmp_path_factory.mktemp("teacher")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20, image_size=32, patch_size=8
    )
    config.id2label = {label: str(label) for label in range(CLASSES)}
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor(32, *OWN).save_pretrained(folder)
    return str(folder)


OWN = [0.5, 0.4, 0.3], [0.3, 0.2, 0.2]
OTHER = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def processor(size: int, mean: list[float], std: list[float]) -> BitImageProcessor:
    side = {"height": size, "width": size}
    return BitImageProcessor(size=side, crop_size=side, do_center_crop=False, image_mean=mean, image_std=std)


def warnings(patient: Make, saved: str, of_teacher: Any = None, of_student: Any = None) -> str:
    trainer = patient(
        model=saved,
        teacher=OnlineTeacher(load_teacher_network(saved), of_teacher),
        train_dataset=image_rows(20),
        processing_class=of_student,
    )
    return told(examine(trainer, checks=QUICK), "warning")


@pytest.mark.parametrize("who", ["of_teacher", "of_student"])
@pytest.mark.parametrize(
    ("given", "what"),
    [
        (processor(32, *OTHER), "normalised by mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225)"),
        (processor(32, OWN[0][::-1], OWN[1][::-1]), "its own by (0.5, 0.4, 0.3) and (0.3, 0.2, 0.2): channels in rev"),
    ],
)
def test_other_normalisation_than_its_own(
    who: str, given: BitImageProcessor, what: str, patient: Make, saved: str
) -> None:
    """By a processor that was passed, against the one that lies beside the weights."""
    found = warnings(patient, saved, **{who: given})
    assert f"the {who.removeprefix('of_')}'s images are normalised by mean" in found and what in found
    assert found.count("normalised by") == 1


def test_another_size_than_the_teachers(patient: Make, tmp_path: Path) -> None:
    """Of a network of convolutions, which takes any."""
    save_for_hf(timm.create_model("test_resnet", num_classes=4), str(tmp_path), safe_serialization=True)
    network = load_teacher_network(str(tmp_path))
    own = OnlineTeacher(network)
    assert own.preprocessing[0] is not None
    small = processor(32, list(own.preprocessing[0].mean), list(own.preprocessing[0].std))
    settings: dict[str, Any] = {"model": str(tmp_path), "train_dataset": image_rows(20), "classes": "position"}
    found = examine(patient(teacher=OnlineTeacher(network, small), **settings), checks=QUICK)
    assert "the teacher's images have 32 × 32 pixels, its own 160 × 160" in told(found, "warning")
    found = examine(patient(teacher=own, processing_class=small, **settings), checks=QUICK)
    assert "pixels, its own" not in told(found, "warning")


def test_their_own(patient: Make, saved: str) -> None:
    """Nothing was passed, or the same."""
    assert "normalised by" not in warnings(patient, saved)
    assert "normalised by" not in warnings(patient, saved, processor(32, *OWN), processor(32, *OWN))
