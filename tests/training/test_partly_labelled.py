"""Images with labels and images without, trained on together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from exrep_hf import DistillationTrainer
from tests.processes import Processes, finish

from .conftest import CLASSES
from .unlabelled_run import EXTRA, LABELS, STREAM, outcome, trainer_of

MakeTrainer = Callable[..., DistillationTrainer]


def test_two_processes(processes: Processes, tmp_path: Path) -> None:
    """Their labelled images are not equally many: the mean is that of one process with all of them, resumed or not."""
    finish(processes.start("tests.training.unlabelled_run", 2, str(tmp_path)))
    one = trainer_of(tmp_path / "one", 8)
    one.train()
    expected = outcome(one)
    for rank in range(2):
        whole, resumed = torch.load(tmp_path / f"found-{rank}.pt", weights_only=True)
        assert len(whole["history"]) == 6
        for step, other in zip(whole["history"], expected["history"], strict=True):
            assert step == pytest.approx(other, rel=1e-5)
        assert resumed["history"] == whole["history"]
        for name, value in whole["student"].items():
            assert torch.equal(resumed["student"][name], value), name
            torch.testing.assert_close(value, expected["student"][name], rtol=1e-4, atol=1e-6)
    # An epoch of extra images, too, is one walk over both processes: of 9 and 3, in two steps; and a stream is one.
    for name, images in (("extra", EXTRA), ("stream", STREAM)):
        one = trainer_of(tmp_path / name, 6, images, None)
        one.train()
        for rank in range(2):
            found = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            for step, other in zip(found["history"], outcome(one)["history"], strict=True):
                assert step == pytest.approx(other, rel=1e-5)


def test_a_step_by_hand(tmp_path: Path, make_rows: Any) -> None:
    """The term is the mean over the images that have a label, of the images as the student sees them."""
    trainer = trainer_of(tmp_path, 24, max_steps=1, kd_weight=0.0, adversarial_weight=0.0, save_strategy="no")
    student, rows = trainer.student, make_rows(24)
    labels = torch.tensor(LABELS)
    with torch.no_grad():
        # BatchNorm statistics are frozen.
        logits = student.eval()(pixel_values=rows.images).logits
    expected = F.cross_entropy(logits[labels >= 0], labels[labels >= 0], label_smoothing=0.1)
    trainer.train()
    assert outcome_of_ce(trainer) == pytest.approx(expected.item(), rel=1e-5)


def outcome_of_ce(trainer: DistillationTrainer) -> float:
    return next(entry["loss_ce"] for entry in trainer.state.log_history if "loss_ce" in entry)


def test_mixed_images(tmp_path: Path, logged: Any) -> None:
    """Labels of mixtures have shares for what is labelled; a run with two rounds of mixing learns from them."""
    trainer = trainer_of(tmp_path, 8, mixup=1.0, cutmix=1.0, mix_rounds=2, save_strategy="no", adversarial_weight=0.0)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(24)])  # type: ignore[index]
    shares = trainer.mixed(batch)["labels"]
    assert shares.shape == (24, CLASSES) and (shares >= 0).all()
    # As many parts have a label as images have, up to who is mixed with whom.
    assert 0.2 < shares.sum() / 24 < 0.7 and (shares.sum(1) < 0.999).any()
    trainer.train()
    assert all(value > 0 for value in logged(trainer, "loss_ce")) and len(logged(trainer, "loss_ce")) == 6
