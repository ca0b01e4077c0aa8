"""What storing a teacher's answers costs, and what reading them saves.

    python recipes/benchmarks/teacher_cache.py                 # on a CPU
    python recipes/benchmarks/teacher_cache.py --gpu

Four pairs, each measured in turn in the same run: storing against the teacher's forward alone; reading in shuffled
batches against two `.npy` files an image, as the paper's release keeps them, cold and warm; a step of training with
stored answers against one with the teacher; and the memory of a reading process with ten times the rows. Images and
answers are random: nothing is learned here. Writes JSON; on a shared machine only the ratios mean something.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_images import RandomImages

from exrep_hf import CachedTeacher, DistillationArguments, DistillationTrainer, OnlineTeacher
from exrep_hf.command_line import run_command
from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.evaluation import count_macs
from exrep_hf.files import write_json
from exrep_hf.models import load_classifier
from exrep_hf.outputs import TeacherOutput
from exrep_hf.report import device_name, software_versions
from exrep_hf.teacher.cache import Storage

CLASSES, FEATURES = 1000, 1280
BATCH = 128
REPEATS = 5


class RandomTeacher:
    """Answers at once, with random numbers."""

    id2label: dict[int, str] | None = None
    preprocessing: tuple[Preprocessing | None, ...] = (None,)
    views: ViewPolicy | None = None
    fingerprint: str | None = None

    def __init__(self, num_labels: int, feature_dim: int) -> None:
        self.num_labels, self.feature_dim = num_labels, feature_dim

    def networks(self) -> tuple[torch.nn.Module, ...]:
        """None."""
        return ()

    def check_images(self, dataset: Any) -> None:
        """Take any."""

    def check_temperature(self, temperature: float) -> None:
        """Take any."""

    def __call__(self, batch: Any, *, temperature: float = 1.0) -> TeacherOutput:
        """Random logits and features."""
        count = len(batch["pixel_values"])
        return TeacherOutput(logits=torch.randn(count, self.num_labels), features=torch.rand(count, self.feature_dim))


def in_turn(*measured: Callable[[], float]) -> list[float]:
    """Return the median of each, measured in turn, so that a busy moment of the machine meets all of them."""
    rounds = [[measure() for measure in measured] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def resident_bytes() -> int:
    """Memory that this process holds, as Linux counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def storing(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Storing against the forward alone, over the same images in memory."""
    teacher = OnlineTeacher(load_classifier(args.teacher, 10, pretrained=False))
    images = RandomImages(args.images, args.image_size)
    device = torch.device("cuda" if args.gpu else "cpu")
    batch = {"pixel_values": torch.stack([images[row]["pixel_values"] for row in range(64)]).to(device)}
    numbers = iter(range(2 * REPEATS + 2))

    def forward() -> None:
        for _ in range(0, args.images, 64):
            teacher(batch)

    def store() -> None:
        storage = Storage(batch_size=64, rows_per_shard=max(args.images // 4, 64))
        CachedTeacher.write(teacher, images, folder / f"stored-{next(numbers)}", storage=storage)

    forward()
    alone, stored = in_turn(lambda: seconds(forward), lambda: seconds(store))
    return {"forward_seconds": alone, "storing_seconds": stored, "ratio": stored / alone}


def forget(paths: list[Path]) -> None:
    """Put files out of the system's cache, as far as it lets a user do so."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def reading(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reading in shuffled batches against two `.npy` files an image."""
    count = args.rows
    CachedTeacher.write(
        RandomTeacher(CLASSES, FEATURES), RandomImages(count, 8), folder / "cache", storage=Storage(batch_size=256)
    )
    cache = CachedTeacher(folder / "cache")
    files = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    (folder / "npy").mkdir()
    for row in range(count):
        answer = cache({"sample_index": torch.tensor([row])})
        for name in ("logits", "features"):
            np.save(folder / "npy" / f"{row}_{name}.npy", answer[name][0].numpy())
    npy = list((folder / "npy").iterdir())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).split(BATCH)

    def from_cache() -> None:
        for index in order:
            cache({"sample_index": index})

    def from_npy() -> None:
        for index in order:
            for name in ("logits", "features"):
                torch.stack(
                    [torch.from_numpy(np.load(folder / "npy" / f"{row}_{name}.npy")) for row in index.tolist()]
                )

    def cold(read: Callable[[], None], paths: list[Path]) -> float:
        forget(paths)
        return seconds(read)

    from_cache()
    from_npy()
    warm_cache, warm_npy = in_turn(lambda: seconds(from_cache), lambda: seconds(from_npy))
    cold_cache, cold_npy = in_turn(lambda: cold(from_cache, files), lambda: cold(from_npy, npy))
    sizes = [sum(path.stat().st_size for path in paths) / count for paths in (files, npy)]
    return {
        "rows": count,
        "warm": {"cache_rows_a_second": count / warm_cache, "npy_rows_a_second": count / warm_npy},
        "cold": {"cache_rows_a_second": count / cold_cache, "npy_rows_a_second": count / cold_npy},
        "warm_ratio": warm_npy / warm_cache,
        "cold_ratio": cold_npy / cold_cache,
        "bytes_an_image": {"cache_float16": sizes[0], "npy_float32": sizes[1]},
        "bytes_ratio": sizes[0] / sizes[1],
    }


def training(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return a step with stored answers against one with the teacher."""
    teacher_model, student = (load_classifier(name, 10, pretrained=False) for name in (args.teacher, args.student))
    teacher = OnlineTeacher(teacher_model)
    images = RandomImages(args.images, args.image_size)
    shape = (3, args.image_size, args.image_size)
    macs = [count_macs(model, shape) for model in (teacher_model, student)]
    cache = CachedTeacher.write(teacher, images, folder / "for_training")
    steps = args.steps

    def train(source: Any) -> float:
        trainer = DistillationTrainer(
            student,
            source,
            DistillationArguments(
                output_dir=str(folder / "out"),
                use_cpu=not args.gpu,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_steps=steps,
                max_steps=steps,
                per_device_train_batch_size=32,
                crd_weight=0,
                adversarial_weight=0,
                views=1 if source.views is None else None,
            ),
            images,
        )
        return float(trainer.train().metrics["train_runtime"])

    train(cache)
    online, cached = in_turn(lambda: train(teacher), lambda: train(cache))
    return {
        "teacher_macs_over_students": macs[0] / macs[1],
        "online_step_seconds": online / steps,
        "cached_step_seconds": cached / steps,
        "ratio": online / cached,
    }


def memory_of_reader(folder: str) -> None:
    """What a process of its own prints: how much its memory grew while it read."""
    cache = CachedTeacher(folder)
    generator = torch.Generator().manual_seed(0)

    def read(batches: int) -> None:
        for _ in range(batches):
            cache({"sample_index": torch.randint(cache.num_samples, (BATCH,), generator=generator)})

    read(10)
    before = resident_bytes()
    read(800)
    print(json.dumps({"grown": resident_bytes() - before, "total": before}))


def memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the memory of reading processes, with few rows and with ten times as many."""
    found = {}
    for rows in (args.memory_rows, 10 * args.memory_rows):
        storage = Storage(batch_size=1024, rows_per_shard=8192)
        CachedTeacher.write(RandomTeacher(100, 128), RandomImages(rows, 1), folder / f"rows-{rows}", storage=storage)
        command = [sys.executable, __file__, "--reader", str(folder / f"rows-{rows}")]
        found[str(rows)] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    small, large = found.values()
    return {
        "rows": found,
        "bytes_stored": [rows * 456 for rows in (args.memory_rows, 10 * args.memory_rows)],
        "growth_ratio": (large["total"] + large["grown"]) / (small["total"] + small["grown"]),
    }


def main() -> None:
    """Measure all pairs and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="timm/wide_resnet50_2")
    parser.add_argument("--student", default="timm/resnet10t")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--images", type=int, default=256, help="images to store, and to train on")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rows", type=int, default=20_000, help="rows to read")
    parser.add_argument("--memory_rows", type=int, default=100_000)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("recipes/results/teacher_cache.json"))
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reader:
        memory_of_reader(args.reader)
        return
    with tempfile.TemporaryDirectory(dir=args.output.parent) as name:
        results: dict[str, Any] = {}
        for part in (storing, reading, training, memory):
            folder = Path(name) / part.__name__
            folder.mkdir()
            results[part.__name__] = part(args, folder)
            print(part.__name__, json.dumps(results[part.__name__], indent=2), flush=True)
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "reader")}
    device = torch.device("cuda" if args.gpu else "cpu")
    facts = {"settings": settings, "device": device_name(device), "versions": software_versions()}
    write_json(facts | results, args.output)


if __name__ == "__main__":
    run_command(main)
