"""One process against two with half the batch each: start-up, time a step, and bytes sent.

    python recipes/benchmarks/distributed.py                   # on CPUs
    python recipes/benchmarks/distributed.py --gpu             # on two GPUs

Both see the same images in each step and take the same number of steps, one run after the other. Images are random:
nothing is learned here. Writes JSON; on a shared machine only the ratios mean something.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from random_images import RandomImages
from torch import Tensor
from transformers import TrainerCallback

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.command_line import run_command
from exrep_hf.files import write_json
from exrep_hf.losses.memory_bank import MemoryBank
from exrep_hf.models import load_classifier
from exrep_hf.report import device_name, software_versions

CLASSES = 10


class Clock(TrainerCallback):
    """When each step ended, and what was gathered in it."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.gathered = 0
        gather = dist.all_gather_into_tensor

        def counting(output: Tensor, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.gathered += tensor.numel() * tensor.element_size()
            return gather(output, tensor, *args, **kwargs)

        dist.all_gather_into_tensor = counting  # type: ignore[assignment]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take note of the time when the device has done what it was given."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.time())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def work(args: argparse.Namespace) -> None:
    """What each process runs: a short training, whose times the first process writes."""
    clock = Clock()
    student, teacher = (load_classifier(name, CLASSES, pretrained=False) for name in (args.student, args.teacher))
    trainer = DistillationTrainer(
        ExRepForImageClassification.from_backbone(student, distiller=None),
        teacher,
        DistillationArguments(
            output_dir=str(args.work / "out"),
            use_cpu=not args.gpu,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=args.steps,
            max_steps=args.steps,
            per_device_train_batch_size=args.batch_size // int(os.environ.get("WORLD_SIZE", 1)),
            num_negatives=args.num_negatives,
            embedding_dim=args.embedding_dim,
            learning_rate=1e-4,
        ),
        RandomImages(args.images, args.image_size),
        callbacks=[clock],
    )
    trainer.train()
    if trainer.is_world_process_zero():
        objective = trainer.distillation_objective
        steps = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
        assert objective.crd is not None
        trained = [each for each in objective.parameters() if each.requires_grad]
        facts = {
            "processes": trainer.args.world_size,
            "start_up_seconds": clock.ends[0] - args.started,
            "step_seconds": statistics.median(steps[2:]),
            "gathered_bytes_a_step": clock.gathered / args.steps,
            "gradient_bytes_a_step": _bytes(trained) if trainer.args.world_size > 1 else 0,
            "bank_bytes": _bytes(objective.crd.bank_state().values()),
            "device": device_name(trainer.args.device),
        }
        write_json(facts, args.work / f"{trainer.args.world_size}.json")
    if dist.is_initialized():
        dist.destroy_process_group()


def measure(processes: int, args: argparse.Namespace, argv: Sequence[str], folder: Path) -> dict[str, Any]:
    """One run, from the launch on."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", "0"]
    worker = [*argv, "--work", str(folder), "--started", str(time.time())]
    changed = {} if args.gpu else {"OMP_NUM_THREADS": "1"}
    if args.gpu and processes == 1:
        changed["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    subprocess.run([*launcher, __file__, *worker], check=True, env=os.environ | changed)
    return json.loads((folder / f"{processes}.json").read_text(encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both, compare, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="timm/resnet18")
    parser.add_argument("--teacher", default="timm/resnet34")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=64, help="Images a step, of all processes.")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--images", type=int, default=100_000, help="Rows of the memory bank.")
    parser.add_argument("--num_negatives", type=int, default=1024)
    parser.add_argument("--embedding_dim", type=int, default=128)
    parser.add_argument("--gpu", action="store_true", help="On GPUs, instead of one CPU core a process.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results" / "distributed.json")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(argv)
    if args.work is not None:
        work(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        one, two = (measure(processes, args, argv, Path(folder)) for processes in (1, 2))
    half = args.batch_size // 2
    results = {
        "settings": {name: value for name, value in vars(args).items() if name not in ("output", "work", "started")},
        "one_process": one,
        "two_processes": two,
        "step_time_one_over_two": one["step_seconds"] / two["step_seconds"],
        "start_up_two_over_one": two["start_up_seconds"] / one["start_up_seconds"],
        "gathered_bytes_by_formula": MemoryBank.bytes_sent(half, args.embedding_dim),
        "bank_bytes_over_bytes_sent": two["bank_bytes"] / two["gathered_bytes_a_step"],
        "versions": software_versions(),
    }
    write_json(results, args.output)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    run_command(main)
