"""Room that is needed, images after which a warning comes, and the knots that a temperature lies between."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from exrep_hf.data import Mixing, ViewPolicy, collate_distillation
from exrep_hf.data.datasets import ReplayedDataset
from exrep_hf.teacher.cache import Storage
from exrep_hf.teacher.cache.top_k import INVERSE_TEMPERATURES, _weights
from tests.teacher.cache.conftest import Images

Write = Callable[..., Any]


@pytest.mark.parametrize(
    ("storage", "row"),
    [
        ({"dtype": "float16"}, (5 + 3) * 2),
        ({"dtype": "bfloat16"}, (5 + 3) * 2),
        ({"dtype": "float32"}, (5 + 3) * 4),
        # Two logits, their classes as int32, eight masses in float32, and the features.
        ({"dtype": "float16", "top_k": 2}, 2 * 2 + 2 * 4 + 8 * 4 + 3 * 2),
        ({"dtype": "float32", "top_k": 2}, 2 * 4 + 2 * 4 + 8 * 4 + 3 * 4),
    ],
)
def test_room_for_each_kind_of_answer(
    storage: dict[str, Any], row: int, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted too small, a disk is full after hours of asking; too large, a disk with room is refused."""
    usage = shutil.disk_usage(tmp_path)
    needed = 2 * 20 * row
    settings = Storage(rows_per_shard=6, batch_size=4, **storage)
    for free, fits in ((needed - 1, False), (needed, True)):
        measured = usage._replace(free=free)
        monkeypatch.setattr("exrep_hf.teacher.cache.writer.shutil.disk_usage", lambda path, it=measured: it)
        if fits:
            write(tmp_path / "answers", storage=settings)
        else:
            with pytest.raises(ValueError, match="Make room, or store less"):
                write(tmp_path / "answers", storage=settings)


def test_warning_within_a_batch(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Batches need not end at the very image after which a teacher is judged; then it comes once."""
    monkeypatch.setattr("exrep_hf.teacher.cache.shard_writer._ENOUGH_IMAGES", 9)
    with caplog.at_level(logging.WARNING, "exrep_hf.teacher.cache.shard_writer"):
        write(tmp_path / "answers", expected_top1=1.0)
    judged = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]
    # Batches of 4, 2, 4, 2 … images; and all of them at the end.
    assert judged == [10, 40]


def test_top1_on_mixtures_goes_by_the_larger_share(
    write: Write, make_teacher: Callable[..., Any], tmp_path: Path
) -> None:
    """By the smaller share, or by either, a good teacher would be reported as one with another order of classes."""
    views = ViewPolicy(2, 1, None, Mixing(mixup=1.0))
    top1 = write(tmp_path / "answers", views=views).manifest.summary["top1"]
    dataset = ReplayedDataset(Images(), views, 5)
    right = 0
    for view in range(2):
        dataset.set_epoch(view)
        batch = collate_distillation([dataset[row] for row in range(20)])
        right += int((make_teacher()(batch).logits.argmax(-1) == batch["labels"].argmax(-1)).sum())
    assert 0 < right < 40 and top1 == right / 40


@pytest.mark.parametrize(
    ("beta", "around"),
    [(0.6, (0.375, 0.5, 0.75, 1.0)), (0.05, (0.0, 0.125, 0.25, 0.375)), (1.9, (0.75, 1.0, 1.5, 2.0))],
)
def test_a_temperature_lies_between_the_nearest_knots(beta: float, around: tuple[float, ...]) -> None:
    """Knots of one side alone extrapolate: within the promised bound on easy logits, beyond it on others."""
    weights = _weights(beta)
    used = [knot for knot, weight in zip(INVERSE_TEMPERATURES, weights.tolist(), strict=True) if weight]
    assert tuple(used) == around
    knots = torch.tensor(INVERSE_TEMPERATURES, dtype=torch.float64)
    for power in range(4):
        assert float(weights @ knots**power) == pytest.approx(beta**power)
