"""Which sources can be read ahead of a step, and collators that do so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from exrep_hf.teacher import (
    AnsweredCollator,
    FeaturesOnly,
    LinearProbe,
    OnlineTeacher,
    ProbedTeacher,
    TeacherEnsemble,
    answer_reader_of,
)
from exrep_hf.teacher.cache.reader import StoredAnswers
from tests.teacher.cache.conftest import Arithmetic, store
from tests.teacher.forwarding import Forwarding

BATCH = {"sample_index": torch.tensor([7, 0, 19]), "view": torch.tensor([1, 0, 1])}


def probed(source: Any) -> ProbedTeacher:
    head = LinearProbe(torch.arange(15.0).view(5, 3), torch.ones(5), 1.0, 0.5, 1.0, 20, 1, 20, 5)
    return ProbedTeacher(source, PreTrainedConfig(id2label=dict(enumerate("abcde"))), head)


@pytest.mark.parametrize(
    "wrap",
    [
        FeaturesOnly,
        probed,
        lambda source: TeacherEnsemble([source]),
        lambda source: TeacherEnsemble([source, store(Path(source.folder) / "other", Arithmetic(2.0))], [1, 3]),
    ],
    ids=["features", "probe", "ensemble of one", "ensemble of two"],
)
def test_sources_round_stored_answers(
    wrap: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached: Any = store(tmp_path / "answers")
    cached.folder = str(tmp_path)
    source = wrap(cached)
    expected = source(BATCH)
    reader = answer_reader_of(source)
    assert reader is not None
    travelled = {**BATCH, **reader(BATCH)}

    def refuse(*_: Any) -> Any:
        raise AssertionError("read in the step")

    monkeypatch.setattr(StoredAnswers, "rows", refuse)
    found = source(travelled)
    for name in ("logits", "features"):
        assert (found[name] is None) == (expected[name] is None) if name in expected else name not in found
        assert name not in expected or torch.equal(found[name], expected[name])


def test_sources_that_are_not_read_ahead(network: Any, preprocessing: Any, tmp_path: Path) -> None:
    """A wrapper that does not know of it stays right, and only waits."""
    online = OnlineTeacher(network, preprocessing.to_image_processor())
    cached: Any = store(tmp_path / "answers")
    for source in (online, FeaturesOnly(online), TeacherEnsemble([online]), Forwarding(cached)):
        assert answer_reader_of(source) is None
    rows = "sample_index"
    batch = AnsweredCollator(lambda items: {rows: torch.tensor(items)}, lambda batch: {"x": batch[rows]})
    assert torch.equal(batch([3, 4])["x"], torch.tensor([3, 4]))
    answer: Any = Forwarding(cached)(BATCH)
    assert torch.equal(answer.logits, cached(BATCH).logits)


def test_batches_without_rows_stay_as_they_are() -> None:
    """What a collator of the user's leaves out is missed by the source, with the remedy."""

    def read(batch: Any) -> dict[str, Tensor]:
        raise AssertionError

    collate = AnsweredCollator(lambda items: {"pixel_values": items}, read)
    assert collate("abc") == {"pixel_values": "abc"}
