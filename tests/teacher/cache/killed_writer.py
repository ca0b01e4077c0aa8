"""What `test_killed_writer.py` kills: a process that stores answers, one of several."""

import time
from collections.abc import Mapping
from pathlib import Path

from accelerate import PartialState
from torch import Tensor

from exrep_hf.data import Mixing, ViewPolicy
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher.cache import Storage

from .conftest import Arithmetic, store


class Slow(Arithmetic):
    """Takes its time, so that there is one to be killed in."""

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        time.sleep(0.004)
        return super().__call__(batch)


def run(rank: int, folder: str) -> None:
    """Store, from where the last one was killed."""
    PartialState(cpu=True)
    views = ViewPolicy(12, 1, None, Mixing(mixup=1.0, cutmix=1.0))
    store(Path(folder), Slow(), views=views, storage=Storage(rows_per_shard=3, batch_size=2))
