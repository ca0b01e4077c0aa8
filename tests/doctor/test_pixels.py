"""Images that are not what a network was trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from transformers import BitImageProcessor

from exrep_hf import OnlineTeacher
from exrep_hf.doctor import examine
from exrep_hf.models import load_teacher_network
from tests.doctor.conftest import Coloured, told

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
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    save_for_hf(timm.create_model("test_vit", num_classes=4, img_size=32), str(folder), safe_serialization=True)
    return folder


def processor(size: int, mean: list[float], std: list[float]) -> BitImageProcessor:
    side = {"height": size, "width": size}
    return BitImageProcessor(size=side, crop_size=side, do_center_crop=False, image_mean=mean, image_std=std)


def with_processor(saved: Path, given: BitImageProcessor | None) -> OnlineTeacher:
    return OnlineTeacher(load_teacher_network(str(saved)), given)
