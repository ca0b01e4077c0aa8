"""Answers that are read beside the images are those that are read in the step."""

import math
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from exrep_hf.data import ViewPolicy
from exrep_hf.finite import NonFiniteError
from exrep_hf.teacher import AnswerReader, CachedTeacher
from exrep_hf.teacher.cache import Storage
from exrep_hf.teacher.cache.reader import StoredAnswers
from tests.hub_server import Hub
from tests.publishing.test_cached_answers import pushed
from tests.teacher.cache.test_finite_answers import poison

Write = Callable[..., Any]
BATCH = {"sample_index": torch.tensor([7, 0, 19, 7, 6]), "view": torch.tensor([1, 0, 1, 0, 1])}


def refuse(*_: Any) -> Any:
    raise AssertionError("read in the step")


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_same_answers(
    dtype: str, top_k: int | None, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any temperature, to the bit, without a look at a file, and after a backend has cast the batch's numbers."""
    cached = write(tmp_path, storage=Storage(dtype, top_k, rows_per_shard=6))
    expected = {temperature: cached(BATCH, temperature=temperature) for temperature in (1.0, 2.5)}
    read = cached.answer_reader()(BATCH)
    monkeypatch.setattr(StoredAnswers, "rows", refuse)
    with pytest.raises(AssertionError, match="read in the step"):
        cached(BATCH)
    held = {**BATCH, **read}
    travelled = {name: each.bfloat16() if each.is_floating_point() else each.clone() for name, each in held.items()}
    for temperature, answer in expected.items():
        found = cached(travelled, temperature=temperature)
        assert torch.equal(found.logits, answer.logits) and torch.equal(found.features, answer.features)
        assert found.logits.dtype == found.features.dtype == torch.float32
    assert not torch.equal(expected[1.0].logits[0], expected[1.0].logits[3]), "two views of a row"


def test_answers_of_others_are_left_alone(write: Write, make_teacher: Any, tmp_path: Path) -> None:
    """Two stores in one batch, and a data set's own columns, don't take each other's place."""
    one, other = write(tmp_path / "a"), write(tmp_path / "b", make_teacher(2.0))
    expected = [each(BATCH).logits for each in (one, other)]
    own = {"teacher_logits": torch.zeros(5, 5), "teacher_features": torch.zeros(5, 3)}
    batch = {**BATCH, **own, **one.answer_reader()(BATCH), **other.answer_reader()(BATCH)}
    assert len(batch) == 4 + 2 * 2
    assert all(torch.equal(each(batch).logits, logits) for each, logits in zip((one, other), expected, strict=True))
    assert not torch.equal(*expected)
    # A store that nobody read for is read as ever.
    assert torch.equal(other({**BATCH, **one.answer_reader()(BATCH)}).logits, expected[1])


def test_what_is_refused_where_batches_are_made(write: Write, tmp_path: Path) -> None:
    """Rows and views that there are not, and answers that are not finite, before they reach a device."""
    read = write(tmp_path / "answers").answer_reader()
    for change, message in (
        ({"sample_index": torch.tensor([3, 20, 0, 0, 0])}, "`sample_index` is 20; expected 0 to 19"),
        ({"sample_index": torch.tensor([3, -1, 0, 0, 0])}, "`sample_index` is -1"),
        ({"view": torch.tensor([0, 2, 0, 0, 0])}, "`view` is 2; expected 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            read({**BATCH, **change})
    with pytest.raises(ValueError, match="no `view`, only .*'sample_index'.*, and answers are stored for 2 views"):
        read({"sample_index": BATCH["sample_index"]})
    poison(tmp_path / "answers", "view-0001/shard-00001.safetensors", "features", 1)
    with pytest.raises(NonFiniteError, match="features for 1 of 5 images .*: row 7 in view 1"):
        CachedTeacher(tmp_path / "answers", verify="full").answer_reader()(BATCH)


def test_files_of_another_type_are_damaged(write: Write, tmp_path: Path) -> None:
    """Bytes that travel are taken for the type that the manifest says."""
    write(tmp_path, storage=Storage("float16", rows_per_shard=20))
    path = tmp_path / "view-0000" / "shard-00000.safetensors"
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    save_file({name: table.bfloat16() for name, table in load_file(path).items()}, path, facts)
    with pytest.raises(ValueError, match="has other tables than it says: .*bfloat16.*, expected widths .* of float16"):
        CachedTeacher(tmp_path)


def test_each_process_opens_its_own_files(write: Write, tmp_path: Path) -> None:
    """Open files can't be sent to a worker that is started anew, nor need they."""
    read = write(tmp_path).answer_reader()
    expected = read(BATCH)
    assert read._stored._open, "something to leave out"
    sent: Any = pickle.loads(pickle.dumps(read))
    assert not sent._stored._open
    found = sent(BATCH)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


class Reading:
    """Items of a loader: what a reader reads of a row."""

    def __init__(self, read: AnswerReader, view: int) -> None:
        self.read, self.view = read, view

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.read({"sample_index": torch.tensor([row]), "view": torch.tensor([self.view])})


def test_a_view_is_downloaded_and_checked_by_a_worker_for_all(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checksums of gigabytes are not computed again by each worker of each epoch."""
    local = pushed(tmp_path / "answers", "me/read-ahead", views=ViewPolicy(2, 1))
    read: Any = CachedTeacher("me/read-ahead").answer_reader()
    checks = multiprocessing.Value("i", 0)
    from exrep_hf.teacher.cache import answer_files

    find_faults = answer_files.find_faults

    def counted(*args: Any, **options: Any) -> Any:
        with checks.get_lock():
            checks.value += 1
        return find_faults(*args, **options)

    monkeypatch.setattr(answer_files, "find_faults", counted)
    expected = local.answer_reader()({"sample_index": torch.arange(8), "view": torch.ones(8, dtype=torch.int64)})
    for _ in range(3):
        loader: Any = DataLoader(Reading(read, 1), batch_size=None, num_workers=1)  # type: ignore[arg-type]
        items = list(loader)
        assert all(torch.equal(torch.cat([item[name] for item in items]), expected[name]) for name in expected)
    # Downloaded files are looked at once, and once more when they are all there.
    assert checks.value == 2


def test_masses_of_a_temperature_between_the_knots(write: Write, tmp_path: Path) -> None:
    """Put together on the device from numbers: the softmax of the kept classes is the one of all logits."""
    whole = write(tmp_path / "a", storage=Storage("float32", rows_per_shard=6))
    part = write(tmp_path / "b", storage=Storage("float32", top_k=3, rows_per_shard=6))
    for temperature in (0.5, 0.8, 1.0, 2.0, 3.3, math.pi):
        expected = (whole(BATCH).logits / temperature).softmax(-1)
        batch = {**BATCH, **part.answer_reader()(BATCH)}
        found = (part(batch, temperature=temperature).logits / temperature).softmax(-1)
        top = expected.topk(3, -1).indices
        torch.testing.assert_close(found.gather(1, top), expected.gather(1, top), rtol=1e-3, atol=1e-4)
