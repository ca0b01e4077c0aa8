"""Contrastive representation distillation (CRD) against its authors' algorithm, in time and memory.

    python recipes/benchmarks/crd.py [--device cuda]       # a step of 1.28 million images' bank: rows 4 of the table
    python recipes/benchmarks/crd.py --growth              # time and peak memory against rows, negatives and batch

Both sides embed the same features, draw negatives, compute the loss, its gradients, and move the bank. The authors'
draw from all rows; ours leave out each image's class, which costs more. The rows "Triton kernel" are measured on a GPU
alone, and decide whether `crd_kernel` becomes the default there.
"""

import argparse
import ctypes
import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from paired import RESULTS, Row, compare, measured_on, parser, report, seconds_of
from torch import Tensor, nn

from exrep_hf.files import write_json
from exrep_hf.losses import CRDLoss
from exrep_hf.report import software_versions

IMAGES, NEGATIVES, WIDTH, DIM = 1_281_167, 4096, 1280, 128
CLASSES, TEMPERATURE, MOMENTUM = 1000, 0.07, 0.5
WAYS: dict[str, dict[str, Any]] = {
    "reference": {},
    "exact": {},
    "exact, tables in bfloat16": {"table_dtype": torch.bfloat16},
    "exact, Triton kernel": {"kernel": True},
    "shared by the batch": {"share_negatives": True},
}
"""What can be timed: the authors' algorithm, and our `CRDLoss` with these settings."""
USUAL = {"rows": 10**5, "negatives": 4096, "batch": 64}
SIZES = {"rows": [10**4, 10**5, 10**6, 10**7], "negatives": [256, 1024, 4096, 16384], "batch": [16, 64, 256]}
"""What `--growth` measures: one of these at a time, the others as usual."""


class Reference(nn.Module):
    """The authors' algorithm in plain PyTorch: gather, product, exponential, autograd (RepDistiller, 2020)."""

    student: Tensor
    teacher: Tensor

    def __init__(self, num_samples: int, num_negatives: int, width: int = WIDTH, dim: int = DIM) -> None:
        super().__init__()
        self.num_negatives = num_negatives
        self.student_embedding, self.teacher_embedding = nn.Linear(width, dim), nn.Linear(width, dim)
        bound = 1 / (dim / 3) ** 0.5
        self.register_buffer("student", torch.empty(num_samples, dim).uniform_(-bound, bound))
        self.register_buffer("teacher", torch.empty(num_samples, dim).uniform_(-bound, bound))
        self.normalizers: list[Tensor] = []

    def forward(self, student: Tensor, teacher: Tensor, rows: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Return the loss, and move the tables."""
        if negatives is None:
            negatives = torch.randint(len(self.student), (len(rows), self.num_negatives), device=rows.device)
        index = torch.cat([rows.unsqueeze(1), negatives], dim=1)  # (batch, 1 + K)
        embedded = F.normalize(self.student_embedding(student)), F.normalize(self.teacher_embedding(teacher))
        loss = torch.zeros((), device=rows.device)
        for side, (embedding, table) in enumerate(zip(embedded, (self.teacher, self.student), strict=True)):
            picked = table.index_select(0, index.view(-1)).view(*index.shape, -1)  # (batch, 1 + K, dim)
            out = torch.exp(torch.bmm(picked, embedding.unsqueeze(2)).squeeze(2) / TEMPERATURE)
            if len(self.normalizers) == side:
                self.normalizers.append(out.mean().detach() * len(table))
            out = out / self.normalizers[side]
            noise = negatives.shape[1] / len(table)
            attract = torch.log(out[:, 0] / (out[:, 0] + noise + 1e-7))
            repel = torch.log(noise / (out[:, 1:] + noise + 1e-7))
            loss = loss - (attract.sum() + repel.sum()) / len(rows)
        with torch.no_grad():
            for embedding, table in zip(embedded, (self.student, self.teacher), strict=True):
                table[rows] = F.normalize(table[rows] * MOMENTUM + embedding * (1 - MOMENTUM))
        return loss


def step_of(way: str, num_samples: int, num_negatives: int, device: str) -> Callable[[int], None]:
    """Build one way, and return what runs a step of it with so many images."""
    torch.manual_seed(0)
    if way == "reference":
        loss: nn.Module = Reference(num_samples, num_negatives)
    else:
        loss = CRDLoss(WIDTH, WIDTH, num_samples, DIM, num_negatives, TEMPERATURE, MOMENTUM, **WAYS[way])
        loss.set_labels(torch.arange(num_samples) % CLASSES)
    loss = loss.to(device).train()

    def step(batch: int) -> None:
        student = torch.randn(batch, WIDTH, device=device, requires_grad=True)
        teacher = torch.randn(batch, WIDTH, device=device)
        rows = torch.randint(num_samples, (batch,), device=device)
        loss(student, teacher, rows).backward()
        loss.zero_grad()

    return step


def peaks_of(way: str, num_samples: int, num_negatives: int, batches: Sequence[int], device: str) -> list[int]:
    """Return the bytes that steps of each batch, the smaller first, need beyond the tables.

    On a CPU in a process of its own: of two ways in one process the second uses again what the first has freed. To be
    called before anything runs backward here, after which a process can't be forked.
    """
    wanted = way, num_samples, num_negatives, batches, device
    if device == "cuda":
        return _peaks(*wanted)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(_peaks(*wanted)))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"Measuring the memory of {way} ended with exit code {child.exitcode}.")
    return answers.get()


def _peaks(way: str, num_samples: int, num_negatives: int, batches: Sequence[int], device: str) -> list[int]:
    # What is loaded at a first step is not of its size.
    step_of(way, 32, 4, device)(2)
    step = step_of(way, num_samples, num_negatives, device)
    # Z, and the order of the classes, are made once.
    step(1)
    if device == "cpu":
        # What the allocator keeps would be used again, and not be seen.
        ctypes.CDLL(None).malloc_trim(0)
    before = _held("VmRSS") if device == "cpu" else torch.cuda.memory_allocated()
    peaks = []
    for batch in batches:
        if device == "cpu":
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is held now
        else:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            step(batch)
        peaks.append((_held("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()) - before)
    return peaks


def _held(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def rows_of_the_table(args: argparse.Namespace) -> list[Row]:
    """Measure every way against the reference."""
    gpu = args.device == "cuda"
    images, negatives = (1000, 16) if args.smoke else (IMAGES, NEGATIVES)
    batches = (2, 4) if args.smoke else (64, 256) if gpu else (64, 180)
    memory = []
    theirs = peaks_of("reference", images, negatives, batches, args.device)
    for way in ("exact", "shared by the batch"):
        ours = peaks_of(way, images, negatives, batches, args.device)
        for batch, our, their in zip(batches, ours, theirs, strict=True):
            note = f"{our / 2**20:.0f} of {their / 2**20:.0f} MiB"
            memory.append(Row(4, f"CRD {way}, B {batch}, peak memory", our / max(their, 1), 0.1, note=note))
    reference = step_of("reference", images, negatives, args.device)
    times = []
    for way, measured, target in (
        ("exact", batches, 0.3 if gpu else 0.25),
        ("exact, tables in bfloat16", batches[:1], 0.3 if gpu else 0.25),
        ("exact, Triton kernel", batches, 0.3),
        ("shared by the batch", batches, 0.1 if gpu else 0.05),
    ):
        # One of ours at a time: all of them at once would be five banks.
        step = step_of(way, images, negatives, args.device) if gpu or "Triton" not in way else None
        for batch in measured:
            ratio = None
            if step is not None:
                ratio = compare(partial(step, batch), partial(reference, batch), args.pairs, warm_up=2)
            times.append(Row(4, f"CRD {way}, B {batch}, over the reference", ratio, target))
        del step
    return times + memory


def growth(args: argparse.Namespace) -> dict[str, Any]:
    """Measure seconds a step (see `_seconds`) and peak bytes of each way, as rows, negatives or batch grow."""
    usual, sizes = USUAL, SIZES
    if args.smoke:
        usual = {"rows": 1000, "negatives": 16, "batch": 2}
        sizes = {"rows": [100, 1000]}
    points: list[dict[str, Any]] = [
        {"way": way, "grown": grown, **usual, grown: value}
        for way in ("reference", "exact", "shared by the batch")
        for grown, values in sizes.items()
        for value in values
    ]
    # Both tables, and what building and using them needs.
    fitting = [point for point in points if 3 * point["rows"] * DIM * 8 / 2 < _free_bytes(args.device)]
    for point in fitting:
        at = point["way"], point["rows"], point["negatives"]
        point["peak_bytes"] = peaks_of(*at, [point["batch"]], args.device)[0]
    for point in fitting:
        step = step_of(point["way"], point["rows"], point["negatives"], args.device)
        point["seconds"] = min([_seconds(partial(step, point["batch"]), args.device) for _ in range(4)][1:])
        del step
        print(point, flush=True)
    left_out = [point for point in points if point not in fitting]
    return {
        "device": measured_on(args.device),
        "points": fitting,
        "too_large_here": left_out,
        "versions": software_versions(),
    }


def _seconds(run: Callable[[], None], device: str) -> float:
    """Seconds on a GPU, CPU seconds on a CPU: these are not of pairs, and others may use the machine too."""
    if device == "cuda":
        return seconds_of(run)
    began = time.process_time()
    run()
    return time.process_time() - began


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__)
    made.add_argument("--growth", action="store_true", help="Time and memory against sizes instead.")
    args = made.parse_args()
    if args.growth:
        content = growth(args)
        output = args.output or RESULTS / f"crd-growth-{args.device}.json"
        if args.output or not args.smoke:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_json(content, output)
    else:
        report(rows_of_the_table(args), "crd", args)


if __name__ == "__main__":
    main()
