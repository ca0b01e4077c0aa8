"""Rows of the bank and its normalisers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from exrep_hf.losses.gather import gather_batches
from exrep_hf.losses.memory_bank import MemoryBank


def test_initial_tables() -> None:
    """A bank of another scale, or two equal tables, gives another Z and another first epoch."""
    bank = MemoryBank(2000, 12, 0.5)
    for table in (bank.student, bank.teacher):
        assert table.shape == (2000, 12) and table.dtype == torch.float32
        assert table.abs().max() <= 0.5
        torch.testing.assert_close(table.std(), torch.tensor(1 / math.sqrt(12)), rtol=0.02, atol=0)
        assert abs(table.mean()) < 0.01
    assert not torch.equal(bank.student, bank.teacher)
    assert bank.log_normalizer_student.isnan() and bank.log_normalizer_teacher.isnan()


def test_initial_tables_do_not_depend_on_the_global_seed() -> None:
    """Processes with seeds of their own would start from different banks and never agree again."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = MemoryBank(20, 4, 0.5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(first.student, MemoryBank(20, 4, 0.5).student)


@pytest.mark.parametrize("momentum", [0.0, 0.3])
def test_update(momentum: float) -> None:
    """Momentum on the wrong side, or no normalisation, changes the loss slowly and silently."""
    torch.manual_seed(0)
    bank = MemoryBank(6, 4, momentum)
    before_student, before_teacher = bank.student.clone(), bank.teacher.clone()
    student, teacher = F.normalize(torch.randn(2, 4), dim=1), F.normalize(torch.randn(2, 4), dim=1)
    rows = torch.tensor([4, 1])
    bank.update(rows, student, teacher)
    for table, before, new in ((bank.student, before_student, student), (bank.teacher, before_teacher, teacher)):
        expected = before.clone()
        for row, vector in zip(rows.tolist(), new, strict=True):
            mixed = momentum * before[row] + (1 - momentum) * vector
            expected[row] = mixed / mixed.norm()
        torch.testing.assert_close(table, expected)


def test_initial_tables_are_those_of_one_draw() -> None:
    """Checkpoints of any release, and both dtypes, begin at the same rows, however a table is filled."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.empty(2, 5000, 12).uniform_(-0.5, 0.5, generator=generator)
    bank, half = MemoryBank(5000, 12, 0.5), MemoryBank(5000, 12, 0.5, torch.bfloat16)
    for table, rounded, expected in ((bank.student, half.student, drawn[0]), (bank.teacher, half.teacher, drawn[1])):
        assert torch.equal(table, expected)
        assert torch.equal(rounded, expected.bfloat16())


def test_building_holds_no_table_twice() -> None:
    """A bank that fills half of a machine's memory must not need all of it for a moment."""
    with _LargestTensors() as watched:
        MemoryBank(50_000, 8, 0.5)
    assert sorted(watched.elements)[-3:] == [4096 * 8, 50_000 * 8, 50_000 * 8]


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_bfloat16_rows_follow_float32_ones(momentum: float) -> None:
    """Each new row is computed in float32 and rounded once; small moves are lost, at most 2⁻⁸ / (1 - momentum)."""
    torch.manual_seed(0)
    bank, half = MemoryBank(6, 128, momentum), MemoryBank(6, 128, momentum, torch.bfloat16)
    assert sum(tensor.nbytes for tensor in half.tensors().values()) == 2 * 6 * 128 * 2 + 8
    student, teacher = F.normalize(torch.randn(2, 128), dim=1), F.normalize(torch.randn(2, 128), dim=1)
    before = half.student.clone()
    half.update(torch.tensor([4, 1]), student, teacher)
    mixed = F.normalize(momentum * before[[4, 1]].float() + (1 - momentum) * student, dim=1)
    assert half.student.dtype == torch.bfloat16
    torch.testing.assert_close(half.student[[4, 1]].float(), mixed, rtol=2**-8, atol=1e-6)
    assert torch.equal(half.student[[0, 2, 3, 5]], before[[0, 2, 3, 5]])
    bank.update(torch.tensor([4, 1]), student, teacher)
    for _ in range(60):
        for each in (bank, half):
            each.update(torch.tensor([4, 1]), student, teacher)
    rows, exact = half.teacher[[4, 1]].float(), bank.teacher[[4, 1]]
    allowed = 2**-8 / (1 - momentum)
    assert ((rows - exact).abs() <= allowed * exact.abs() + 1e-3 * allowed).all()
    # What a similarity sees of it.
    assert ((rows - exact) * student).sum(1).abs().max() < allowed / 4


def test_last_of_duplicates_wins() -> None:
    """With duplicates, the order of writes on an accelerator would decide, differently on every process."""
    torch.manual_seed(0)
    rows = torch.tensor([3, 1, 3, 0, 3, 1])
    embeddings = F.normalize(torch.randn(6, 4), dim=1)
    bank, expected = MemoryBank(6, 4, 0.5), MemoryBank(6, 4, 0.5)
    bank.update(rows, embeddings, -embeddings)
    last = torch.tensor([4, 5, 3])
    expected.update(rows[last], embeddings[last], -embeddings[last])
    assert torch.equal(bank.student, expected.student) and torch.equal(bank.teacher, expected.teacher)


class _LargestTensors(TorchDispatchMode):
    """Notes the sizes of what is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.empty.memory_format or func is torch.ops.aten.clone.default:
            self.elements.append(result.numel())
        return result


class _Writes(TorchDispatchMode):
    """Keeps what is written into tables."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten.index_copy_.default:
            self.writes.append((args[2], args[3].clone()))
        return func(*args, **(kwargs or {}))


def test_duplicates_write_one_value() -> None:
    """The CPU writes in order and hides what an accelerator does not: all writes to a row must be equal."""
    torch.manual_seed(0)
    rows, embeddings = torch.tensor([3, 1, 3, 0, 3, 1]), F.normalize(torch.randn(6, 4), dim=1)
    with _Writes() as watched:
        MemoryBank(6, 4, 0.5).update(rows, embeddings, -embeddings)
    assert len(watched.writes) == 2
    for index, values in watched.writes:
        for row in index.unique():
            assert len(values[index == row].unique(dim=0)) == 1


def test_normalizers_are_set_once() -> None:
    """A Z that follows the batches changes the meaning of the loss in mid-training."""
    bank = MemoryBank(6, 4, 0.5)
    bank.set_normalizers(torch.tensor(3.0), torch.tensor(4.0), batch=3)
    bank.set_normalizers(torch.tensor(-1.0), torch.tensor(-2.0), batch=3)
    assert (bank.log_normalizer_student.item(), bank.log_normalizer_teacher.item()) == (3.0, 4.0)


def test_gather_in_one_process() -> None:
    """Without a process group nothing may be asked of torch.distributed."""
    tensor = torch.arange(3)
    assert gather_batches(tensor, 0) is tensor


def test_state_round_trip() -> None:
    """A bank that is lost on resume starts its contrast from noise again."""
    bank, other = MemoryBank(6, 4, 0.5), MemoryBank(6, 4, 0.5)
    bank.set_normalizers(torch.tensor(3.0), torch.tensor(4.0), batch=3)
    bank.student.add_(1)
    bank.teacher.add_(2)
    tables = other.student
    assert bank.is_normalized and not other.is_normalized
    other.load({name: tensor.clone() for name, tensor in MemoryBank(6, 4, 0.5).tensors().items()})
    assert not other.is_normalized
    other.load({name: tensor.clone() for name, tensor in bank.tensors().items()})
    assert other.is_normalized and other.student is tables
    for name, tensor in bank.tensors().items():
        assert torch.equal(other.tensors()[name], tensor)


def test_bad_state() -> None:
    """Rows of another training set would be read as if they were this one's."""
    bank = MemoryBank(6, 4, 0.5)
    before = bank.student.clone()
    with pytest.raises(ValueError, match=r"bank\.student has size \(6, 4\) here, \(7, 4\) in the checkpoint"):
        bank.load(MemoryBank(7, 4, 0.5).tensors())
    incomplete = {name: tensor + 1 for name, tensor in bank.tensors().items() if name != "bank.teacher"}
    with pytest.raises(ValueError, match=r"holds .*bank\.teacher.*got"):
        bank.load(incomplete)
    partly_wrong = {name: tensor + 1 for name, tensor in bank.tensors().items()} | {"bank.teacher": torch.ones(6, 5)}
    with pytest.raises(ValueError, match=r"bank\.teacher has size"):
        bank.load(partly_wrong)
    with pytest.raises(ValueError, match=r"bank\.student is torch.float32 here, torch.bfloat16 in the checkpoint"):
        bank.load(MemoryBank(6, 4, 0.5, torch.bfloat16).tensors())
    assert torch.equal(bank.student, before)
