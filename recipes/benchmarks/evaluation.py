"""`trainer.evaluate()` over a bare loop that computes the same figures, and what it keeps of each image.

    python recipes/benchmarks/evaluation.py                  # about a minute on a CPU core
    python recipes/benchmarks/evaluation.py --device cuda

Loss, top-1 and top-5 accuracy, of a student without a teacher; images lie in memory as tensors.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import timm
import torch
import torch.nn.functional as F
from paired import Ratio, Row, compare, parser, report
from random_images import RandomImages
from torch import nn
from torch.utils.data import DataLoader

from exrep_hf import DistillationArguments, DistillationTrainer
from exrep_hf.command_line import run_command

CLASSES = (1000, 21_843)


def trainer_of(args: argparse.Namespace, images: RandomImages, folder: str) -> DistillationTrainer:
    """A trainer as a user makes it, to evaluate."""
    torch.manual_seed(0)
    settings = DistillationArguments(
        folder,
        kd_weight=0.0,
        ce_weight=1.0,
        per_device_eval_batch_size=args.batch,
        report_to="none",
        disable_tqdm=True,
        use_cpu=args.device == "cpu",
    )
    student = timm.create_model(args.student, num_classes=images.classes)
    return DistillationTrainer(student, args=settings, eval_dataset=images)


def bare(model: nn.Module, images: RandomImages, args: argparse.Namespace) -> Callable[[], tuple[float, float, float]]:
    """A loop of plain PyTorch over the same images."""

    def run() -> tuple[float, float, float]:
        sums = torch.zeros(3, device=args.device)
        model.eval()
        for batch in DataLoader(images, batch_size=args.batch, pin_memory=args.device == "cuda"):
            pixels, labels = (batch[name].to(args.device, non_blocking=True) for name in ("pixel_values", "labels"))
            with torch.no_grad():
                logits = model(pixels)
            right = logits.topk(5).indices == labels[:, None]
            loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
            sums += torch.stack([loss, right[:, 0].sum(), right.any(1).sum()])
        loss, top1, top5 = (sums / len(images)).tolist()
        return loss, top1, top5

    return run


def speed(args: argparse.Namespace, classes: int, folder: str) -> Ratio:
    """Return the time of `evaluate` over that of the bare loop, after a look whether both find the same."""
    images = RandomImages(args.images, args.size, classes)
    trainer = trainer_of(args, images, folder)
    loop = bare(trainer.student.classifier.timm_model, images, args)
    found, expected = trainer.evaluate(), loop()
    for name, value in zip(("eval_loss", "eval_accuracy", "eval_top5_accuracy"), expected, strict=True):
        if abs(found[name] - value) > 1e-4 * max(1, abs(value)):
            raise ValueError(f"`{name}` is {found[name]} and the bare loop's {value}; expected the same.")
    return compare(trainer.evaluate, loop, args.pairs)


def peak_memory(args: argparse.Namespace) -> None:
    """Evaluate as many images as `--peak` says, and print the largest resident memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        trainer_of(args, RandomImages(args.peak, args.size, CLASSES[-1]), folder).evaluate()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def growth(args: argparse.Namespace) -> float:
    """Return by how much memory grows an image, over the bytes of its logits."""
    few, many = args.images, 4 * args.images
    flags = ["--student", args.student, "--size", args.size, "--batch", args.batch, "--device", "cpu"]
    peaks = [
        int(subprocess.check_output([sys.executable, __file__, *map(str, flags), "--peak", str(count)]).split()[-1])
        for count in (few, many)
    ]
    return (peaks[1] - peaks[0]) / (many - few) / (4 * CLASSES[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--student", default="resnet18")
    flags.add_argument("--size", type=int, default=32)
    flags.add_argument("--batch", type=int, default=64)
    flags.add_argument("--images", type=int, default=640)
    flags.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = flags.parse_args(argv)
    if args.smoke:
        args.student, args.images, args.batch = "test_resnet", 16, 8
    if args.peak is not None:
        peak_memory(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        few, many = (speed(args, classes, folder) for classes in CLASSES)
    told = f"{args.student} at {args.size} px"
    report(
        [
            Row(8, "`evaluate()` over a bare loop, 1 000 classes", few, 1.05, note=told),
            Row(8, "`evaluate()` over a bare loop, 21 843 classes", many, 1.1, note=told),
            Row(8, "memory an image over its 21 843 logits", growth(args), 0.05, note=f"up to {4 * args.images}"),
        ],
        "evaluation",
        args,
    )


if __name__ == "__main__":
    run_command(main)
