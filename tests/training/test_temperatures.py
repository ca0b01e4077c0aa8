"""The temperature that stored logits are rebuilt for is the one that terms divide them by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch import nn

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher, Term
from exrep_hf.losses import DISTLoss
from exrep_hf.teacher.cache import Storage
from tests.teacher.forwarding import Forwarding
from tests.training.conftest import PREPROCESSING

SETTINGS: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0}


class Unsaid(nn.Module):
    def forward(self, student: Any, teacher: Any, batch: Any) -> torch.Tensor:
        return (student.logits.softmax(-1) - teacher.logits.softmax(-1)).square().sum(-1).mean()


@pytest.fixture
def images(make_images: Callable[[int], datasets.Dataset]) -> datasets.Dataset:
    return make_images(10)


@pytest.fixture
def stored(make_network: Any, images: datasets.Dataset, tmp_path: Path) -> CachedTeacher:
    online = OnlineTeacher(make_network(seed=1, width=12), PREPROCESSING.to_image_processor())
    return CachedTeacher.write(online, images, tmp_path / "answers", storage=Storage("float32", top_k=2))


def test_that_of_the_only_term(stored: CachedTeacher, images: datasets.Dataset, make_trainer: Any) -> None:
    """Also through a wrapper that only forwards; `temperature` is that of `kd`, which is not there."""
    terms = {"dist": Term(DISTLoss())}
    given = SETTINGS | {"train_dataset": images, "augmentation": None, "kd_weight": 0.0, "temperature": 4.0}
    trainer: DistillationTrainer = make_trainer(teacher=Forwarding(stored), terms=terms, **given)
    rows: Any = trainer.train_dataset
    batch = trainer.batch_of([rows[row] for row in range(4)])
    found = trainer.ask_teacher(batch, training=True).logits
    at_one, at_four = (stored(batch, temperature=each).logits for each in (1.0, 4.0))
    assert found is not None and at_one is not None and at_four is not None
    assert torch.equal(found, at_one) and not torch.allclose(at_one, at_four)


def test_several_are_refused(stored: CachedTeacher, images: datasets.Dataset, make_trainer: Any) -> None:
    """Where logits are rebuilt; those of a network are right at each."""
    given = SETTINGS | {"train_dataset": images, "augmentation": None, "kd_weight": 1.0, "temperature": 4.0}
    with pytest.raises(ValueError, match="with `top_k` and are rebuilt .*: `kd` 4, `dist` 1; expected one for all"):
        make_trainer(teacher=stored, terms={"dist": Term(DISTLoss())}, **given)
    with pytest.raises(ValueError, match="`mine` unknown; expected one for all"):
        make_trainer(teacher=stored, terms={"mine": Term(Unsaid())}, **given | {"kd_weight": 0.0})
    make_trainer(teacher=stored, terms={"dist": Term(DISTLoss(temperature=4.0))}, **given)
    # The usual teacher of `make_trainer`, a network.
    make_trainer(terms={"dist": Term(DISTLoss())}, **given)
