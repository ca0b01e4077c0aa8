"""Runs whose images or answers come from elsewhere: looked at as far as they can be, without alarm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from exrep_hf import CachedTeacher
from exrep_hf.data import Augmentation, ViewPolicy
from exrep_hf.data.mixing import Mixing
from exrep_hf.doctor import as_text, examine
from tests.doctor.conftest import told
from tests.training.conftest import PREPROCESSING, image_rows

Make = Callable[..., Any]
PROCESSOR = PREPROCESSING.to_image_processor()
CROPS = Augmentation(scale=(0.3, 1.0))


def test_a_stream(patient: Make) -> None:
    """Nothing is taken of it: length and flags are known all the same."""
    given = {"train_dataset": image_rows(12).to_iterable_dataset(), "processing_class": PROCESSOR}
    findings = examine(patient(**given))
    assert [each for each in findings if each.level != "fine"] == []
    findings = examine(patient(**given, max_steps=100))
    assert "100 steps are few" in told(findings, "warning")


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(1.0, 1.0)])
def test_stored_answers(mixing: Mixing, patient: Make, tmp_path: Path) -> None:
    """They are scored as the student will get them; mixtures, whose labels nobody needs, have none to score by."""
    images, source = image_rows(60), patient().teacher
    CachedTeacher.write(source, images, tmp_path / "answers", ViewPolicy(2, 42, CROPS, mixing))
    settings = {"train_dataset": images, "mixup": mixing.mixup, "cutmix": mixing.cutmix, "processing_class": PROCESSOR}
    trainer = patient(teacher=CachedTeacher(tmp_path / "answers"), augmentation=CROPS, **settings)
    findings = examine(trainer)
    # Of noise with any label nobody knows the class.
    assert ("the teacher is right about" in told(findings, "waste")) != bool(mixing)
    assert " images/s" in as_text(findings) and ("shares of the gradient" in as_text(findings)) == bool(mixing)


def test_accumulated_and_half_precision(patient: Make) -> None:
    """Under autocast, as in training."""
    findings = examine(patient(bf16=True, gradient_accumulation_steps=2))
    assert [each for each in findings if each.level != "fine"] == []


def test_workers(patient: Make) -> None:
    """They end with the look."""
    findings = examine(patient(dataloader_num_workers=2, per_device_train_batch_size=8))
    assert [each for each in findings if each.level != "fine"] == []
    assert torch.utils.data.get_worker_info() is None
