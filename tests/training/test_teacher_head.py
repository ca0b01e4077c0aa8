"""Which head a teacher gets: its own, a probe fitted on labelled training images, or none."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import torch.nn.functional as F

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.teacher import FeaturesOnly, ProbedTeacher, fit_linear_probe
from exrep_hf.teacher.head_file import HEAD_NAME, load_head
from tests.teacher.forwarding import Forwarding

MakeTrainer = Callable[..., DistillationTrainer]
ALONE: dict[str, Any] = {"ce_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "mixup": 1.0, "cutmix": 1.0}


class Headless(Forwarding):
    """Hides a classifier's logits."""

    num_labels = None
    id2label = None

    def __call__(self, batch: Any, *, temperature: float = 1.0) -> Any:
        answer = super().__call__(batch, temperature=temperature)
        answer.logits = None
        return answer


@pytest.fixture
def headless(teacher: OnlineTeacher) -> Headless:
    return Headless(teacher)


def head_of(trainer: DistillationTrainer) -> Any:
    assert isinstance(trainer.teacher, ProbedTeacher) and trainer.teacher.head is not None
    return trainer.teacher.head


def test_a_probe_is_fitted_on_the_teachers_features(
    make_trainer: MakeTrainer, headless: Headless, make_images: Any, tmp_path: Path, capsys: Any
) -> None:
    """The features are those of the images as they are, asked one by one; what is trained on are its logits."""
    images = make_images(40)
    trainer = make_trainer(teacher=headless, train_dataset=images, **ALONE)
    state = torch.get_rng_state()
    trainer.prepare_teacher(None)
    assert torch.equal(torch.get_rng_state(), state)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(40)])
    features = headless(batch).features
    expected = fit_linear_probe(features[:, None], batch["labels"], 4)
    found = head_of(trainer)
    assert (found.images, found.views, found.classes) == (40, 1, 4)
    torch.testing.assert_close(found.weight, expected.weight, atol=1e-4, rtol=1e-3)
    logits = trainer.ask_teacher(batch, training=True).logits
    torch.testing.assert_close(logits, F.linear(features, expected.weight, expected.bias), atol=1e-3, rtol=1e-3)
    trainer.train()
    told = capsys.readouterr().out
    assert "the teacher's head was fitted on 40 images of 4 classes: cross-validated top-1" in told
    assert told.count("was fitted on") == 1
    stored = load_head(tmp_path / "out" / HEAD_NAME, 4, 12)
    assert torch.equal(stored.weight, found.weight) and stored.accuracy == found.accuracy
