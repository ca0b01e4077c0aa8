"""A small run that is in good health: networks that know the classes of generated images, and the images."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exrep_hf import DistillationArguments, DistillationTrainer, OnlineTeacher
from exrep_hf.doctor import Finding
from tests.training.conftest import CLASSES, PREPROCESSING, TensorRows, network

# Of red, green and blue: the first two classes change places where red and blue do.
_COLOURS = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
COUNT = 80


class Coloured(TensorRows):
    """Normalised noise, each class of another colour; `labels` of None: nobody says which."""

    def __init__(self, count: int = COUNT, labelled: bool = True) -> None:
        super().__init__(count, without=() if labelled else ("labels",))
        classes = torch.arange(count) % CLASSES
        self.images = 0.7 * self.images + _COLOURS[classes][..., None, None]
        self.labels: list[int] | None = classes.tolist() if labelled else None


@functools.cache
def _trained(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, rows = network(seed), Coloured(256)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        model.train()
        for step in range(20):
            part = slice(64 * (step % 4), 64 * (step % 4 + 1))
            labels = torch.tensor(rows.labels)[part]
            F.cross_entropy(model(rows.images[part]).logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.eval()


def trained(seed: int) -> Any:
    """A network that knows these classes."""
    return copy.deepcopy(_trained(seed))


def make(folder: Path, **changes: Any) -> Any:
    """A trainer; keywords of the trainer go to it, all others are settings of training."""
    own = {"model", "teacher", "train_dataset", "processing_class", "terms", "classes", "augmentation"}
    given: dict[str, Any] = {"train_dataset": Coloured()} | {name: changes[name] for name in changes.keys() & own}
    given.setdefault("model", trained(2))
    given.setdefault("teacher", OnlineTeacher(trained(1), PREPROCESSING.to_image_processor()))
    settings: dict[str, Any] = {"max_steps": 1500, "save_strategy": "no", "use_cpu": True, "report_to": "none"}
    settings |= {name: value for name, value in changes.items() if name not in own}
    trainer = DistillationTrainer(args=DistillationArguments(output_dir=str(folder), **settings), **given)
    # As from a checkpoint: networks that were made here have no name.
    trainer.student.starts_from_nothing = False
    return trainer


def told(findings: list[Finding], level: str) -> str:
    return "\n".join(f"{finding.what} → {finding.remedy}" for finding in findings if finding.level == level)


@pytest.fixture
def patient(tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(make, tmp_path / "out")
