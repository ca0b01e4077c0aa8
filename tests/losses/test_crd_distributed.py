"""The bank, the queue and the classes in a run of several processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from exrep_hf.losses import CRDLoss
from exrep_hf.losses.memory_bank import MemoryBank

STEPS, PROCESSES, BATCH, ROWS = 3, 2, 4, 16


def _steps(batch: int = BATCH) -> list[dict[str, Tensor]]:
    """The joined batches of all processes; rows repeat within a process and across processes."""
    generator = torch.Generator().manual_seed(0)
    joined = PROCESSES * batch
    return [
        {
            "student_features": torch.randn(joined, 5, generator=generator),
            "teacher_features": torch.randn(joined, 7, generator=generator),
            "sample_index": torch.tensor([3, 3, 1, step, 2, 3, 8, 8])[:joined],
            "negative_index": torch.randint(ROWS, (joined, 6), generator=generator),
        }
        for step in range(STEPS)
    ]


def _loss(**changes: Any) -> CRDLoss:
    loss = CRDLoss(5, 7, **{"num_samples": ROWS, "embedding_dim": 8, "num_negatives": 6} | changes)
    generator = torch.Generator().manual_seed(1)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return loss


def _join(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    # Processes need not share a global seed.
    torch.manual_seed(100 + rank)


def _run(work: Callable[..., None], tmp_path: Path) -> list[Any]:
    """What each process wrote; fork spares each the import of all that the package needs."""
    mp.start_processes(work, args=(str(tmp_path),), nprocs=PROCESSES, start_method="fork")
    return [torch.load(tmp_path / f"written_{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


def _train(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _loss()
    for step in _steps():
        loss(**{name: tensor.chunk(PROCESSES)[rank] for name, tensor in step.items()})
    # A process may evaluate alone: nothing of the others is needed.
    if rank == 0:
        loss.eval()(torch.randn(2, 5), torch.randn(2, 7), None)
    torch.save(loss.bank_state(), f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_processes_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    """Tables that drift apart, or see one process's share of the batch only, still give a falling loss."""
    first, second = _run(_train, tmp_path)
    single = _loss()
    start = single.bank.student.clone()
    for step in _steps():
        single(**step)
    assert first.keys() == single.bank_state().keys()
    assert not torch.equal(single.bank.student, start)
    for name, tensor in single.bank_state().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-6)


def _train_shared(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _loss(share_negatives=True, num_negatives=50, table_dtype=torch.bfloat16)
    drawn = []
    for step in _steps():
        own = {name: tensor.chunk(PROCESSES)[rank] for name, tensor in step.items() if name != "negative_index"}
        drawn.append(loss(**own, labels=own["sample_index"] % 3).detach())
    written = {"labels": loss.negatives.labels, "losses": torch.stack(drawn)}
    torch.save(loss.bank_state() | written, f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_no_negatives_and_one_bank(tmp_path: Path) -> None:
    """Each draws for its own batch, from a bank, under a Z and with classes that are the same on all."""
    first, second = _run(_train_shared, tmp_path)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]) == (name != "losses"), name
    assert first["bank.student"].dtype == torch.bfloat16 and first["labels"].tolist()[8] == 2
    assert first["losses"].isfinite().all() and first["log_normalizer.student"].isfinite()


SHARES = [(5, 3), (4, 4), (1, 7)]
"""Images that each process has in each step, of 8."""


def _train_unevenly(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _loss()
    loss.largest_batch = 7
    for share, step in zip(SHARES, _steps(), strict=True):
        loss(**{name: tensor.split(share)[rank] for name, tensor in step.items()})
    torch.save(loss.bank_state(), f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_batches_of_unequal_sizes(tmp_path: Path) -> None:
    """The last batch of an epoch may be smaller on some processes; Z is a mean over images, not over processes."""
    first, second = _run(_train_unevenly, tmp_path)
    single = _loss()
    for step in _steps():
        single(**step)
    for name, tensor in single.bank_state().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-6)


def _queue(rank: int | None) -> CRDLoss:
    loss = _loss(num_samples=20_000_000, queue_length=ROWS)
    for step in _steps():
        chosen = {name: tensor if rank is None else tensor.chunk(PROCESSES)[rank] for name, tensor in step.items()}
        loss(**chosen, labels=chosen["sample_index"] % 3)
    return loss


def _train_queue(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _queue(rank)
    torch.save(loss.bank_state() | {"labels": loss.negatives.labels}, f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_queues_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    first, second = _run(_train_queue, tmp_path)
    single = _queue(None)
    for name, tensor in (single.bank_state() | {"labels": single.negatives.labels}).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-6)


def _train_queue_unevenly(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _loss(num_samples=20_000_000, queue_length=ROWS)
    loss.largest_batch = 7
    step = {name: tensor.split(SHARES[0])[rank] for name, tensor in _steps()[0].items()}
    loss(**step, labels=step["sample_index"] % 3)
    torch.save(loss.bank_state() | {"labels": loss.negatives.labels}, f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_queues_with_batches_of_unequal_sizes(tmp_path: Path) -> None:
    """Rows counted by each process's own batch overlap: images of one process would overwrite those of another."""
    first, second = _run(_train_queue_unevenly, tmp_path)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    # Each process owns 7 rows of a step, of which the last ones stay as they were where it has fewer images.
    assert first["queue.position"].item() == 14
    loss, step = _loss(num_samples=20_000_000, queue_length=ROWS), _steps()[0]
    rows = [0, 1, 2, 3, 4, 7, 8, 9]
    labels = torch.full((ROWS,), -1)
    labels[rows] = step["sample_index"] % 3
    assert torch.equal(first["labels"], labels)
    with torch.no_grad():
        for side in ("student", "teacher"):
            expected = loss.bank_state()[f"bank.{side}"].clone()
            embedding = loss.get_submodule(f"{side}_embedding")
            expected[rows] = torch.nn.functional.normalize(embedding(step[f"{side}_features"]), dim=1)
            torch.testing.assert_close(first[f"bank.{side}"], expected, rtol=1e-6, atol=1e-6)


def _learn_classes(rank: int, folder: str) -> None:
    _join(rank, folder)
    loss = _loss()
    step = {name: tensor.chunk(PROCESSES)[rank] for name, tensor in _steps()[0].items()}
    del step["negative_index"]
    loss(**step, labels=step["sample_index"] % 3)
    torch.save(loss.negatives.labels, f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_classes_are_learned_from_all_processes(tmp_path: Path) -> None:
    """A class that another process has seen must not be drawn as another one."""
    first, second = _run(_learn_classes, tmp_path)
    seen = torch.tensor([0, 1, 2, 3, 8])
    expected = torch.full((ROWS,), -1).index_copy_(0, seen, seen % 3)
    assert torch.equal(first, expected) and torch.equal(second, expected)


def _count(rank: int, folder: str) -> None:
    _join(rank, folder)
    sent: dict[str, list[int]] = {}
    gather = dist.all_gather_into_tensor

    def counting(output: Tensor, tensor: Tensor) -> None:
        sent[name].append(tensor.numel() * tensor.element_size())
        gather(output, tensor)

    dist.all_gather_into_tensor = counting  # type: ignore[assignment]
    for rows, batch, dim in ((ROWS, 4, 8), (5000, 4, 8), (ROWS, 2, 8), (ROWS, 4, 32)):
        name = f"{rows} {batch} {dim}"
        sent[name] = []
        loss = _loss(num_samples=rows, embedding_dim=dim)
        step = _steps(batch)[0]
        loss(**{key: tensor.chunk(PROCESSES)[rank] for key, tensor in step.items()})
    torch.save(sent, f"{folder}/written_{rank}.pt")
    dist.destroy_process_group()


def test_bytes_sent_depend_on_batch_and_width_alone(tmp_path: Path) -> None:
    """A table of ImageNet's size is 1.3 GB with its twin: sent at each step, it would be all that a run does."""
    for sent in _run(_count, tmp_path):
        for name, sizes in sent.items():
            _, batch, dim = map(int, name.split())
            # Three numbers more: both estimates of Z, and how many images they are of.
            assert sum(sizes) == MemoryBank.bytes_sent(batch, dim) + 3 * 4, name
    assert MemoryBank.bytes_sent(256, 128) == 256 * (8 + 1024)


def test_twenty_million_images() -> None:
    """What does not fit must be known before it is tried: a bank grows with the images, a queue does not."""
    with torch.device("meta"):
        queue = CRDLoss(5, 7, num_samples=20_000_000, queue_length=65_536)
    held = sum(tensor.numel() * tensor.element_size() for tensor in queue.bank_state().values())
    assert held == pytest.approx(2 * 65_536 * 128 * 4, rel=1e-5)
    assert 2 * 20_000_000 * 128 * 4 / held == pytest.approx(305, rel=0.01)
