"""The light Input Distiller over the plain student, in time, and what a training step keeps in memory.

    python recipes/benchmarks/distiller.py                     # about two minutes on a CPU core
    python recipes/benchmarks/distiller.py --device cuda       # with the largest batch of EfficientNet-B1 at 240 px

Row 7 compares EfficientNet-B0 at 224 px with and without the light distiller, both in channels_last. The table of
memory counts the bytes that the forward pass keeps for the backward pass, part by part (with gradient checkpointing
the student keeps the inputs of its blocks alone), and the peak of a step in float32: in bfloat16 it is about half.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from paired import Row, compare, parser, report
from torch import Tensor, nn

from exrep_hf import ExRepForImageClassification
from exrep_hf.command_line import run_command


def student_of(name: str, distiller: Any, size: int, device: str) -> ExRepForImageClassification:
    """A student as training lays it out."""
    torch.manual_seed(0)
    student = ExRepForImageClassification.from_backbone(
        f"timm/{name}", distiller=distiller, pretrained=False, image_size=size
    )
    nn.Module.to(student, device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return student


def step_of(student: nn.Module, images: Tensor, labels: Tensor, device: str) -> Callable[[], None]:
    """Forward, backward, and no update."""

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = student(images).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        student.zero_grad(set_to_none=True)

    return step


def inference_of(student: nn.Module, images: Tensor, device: str) -> Callable[[], None]:
    """A forward without a graph."""

    def infer() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            student(images)

    return infer


def kept_bytes(student: ExRepForImageClassification, images: Tensor, checkpointed: bool) -> dict[str, int]:
    """Return the bytes that a forward keeps for the backward pass: of the distiller, and of the student behind it."""
    student.train()
    if checkpointed:
        student.activation_checkpointing_enable()
    else:
        student.gradient_checkpointing_disable()
    parameters = {parameter.data_ptr() for parameter in student.parameters()}
    kept: dict[str, dict[int, int]] = {"distiller": {}, "student": {}}
    part = "student"

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[part][storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            nonlocal part
            part = name

        return hook

    handles = []
    if student.input_distiller is not None:
        handles.append(student.input_distiller.register_forward_pre_hook(enter("distiller")))
        handles.append(student.input_distiller.register_forward_hook(enter("student")))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # What is kept stays alive as long as the loss does: addresses are not used twice.
        loss = student(images).logits.float().sum()
    del loss
    for handle in handles:
        handle.remove()
    return {name: sum(sizes.values()) for name, sizes in kept.items()}


def memory_table(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what a step of each kind keeps, in bytes an image."""
    table = []
    images = torch.randn(args.memory_batch, 3, args.memory_size, args.memory_size)
    for distiller in (None, "light", "paper"):
        for checkpointed in (False, True):
            student = student_of(args.memory_student, distiller, args.memory_size, "cpu")
            kept = kept_bytes(student, images, checkpointed)

            def make(batch: int, student: nn.Module = student) -> Callable[[], None]:
                pixels = torch.randn(batch, 3, args.memory_size, args.memory_size)
                return step_of(student, pixels, torch.zeros(batch, dtype=torch.int64), "cpu")

            table.append(
                {
                    "student": args.memory_student,
                    "distiller": distiller,
                    "gradient_checkpointing": checkpointed,
                    "bytes_an_image": {name: size / len(images) for name, size in kept.items()},
                    "peak_bytes_an_image": peak_an_image(make, args.memory_batch),
                    "fixed_bytes": 16 * sum(parameter.numel() for parameter in student.parameters()),
                }
            )
    return table


def peak_an_image(make: Callable[[int], Callable[[], None]], batch: int) -> float:
    """Return by how many bytes the peak of a step on a CPU grows an image.

    Args:
        make: gives the step of a batch of so many images.
        batch: the smaller one of two that are tried.
    """
    peaks = []
    for images in (batch, 2 * batch):
        step = make(images)
        step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            step()
        assert profile.profiler is not None and profile.profiler.kineto_results is not None
        events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
        held = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
        peaks.append(max(held))
    return (peaks[1] - peaks[0]) / batch


def largest_batch(entry: dict[str, Any], memory: int) -> int:
    """Predict the largest batch in float32: weights, gradients and AdamW's two moments are fixed."""
    return int((memory - entry["fixed_bytes"]) // entry["peak_bytes_an_image"])


def largest_batch_that_fits(args: argparse.Namespace, distiller: Any, checkpointed: bool) -> int:
    """Try batches on a GPU until one does not fit."""
    student = student_of(args.memory_student, distiller, args.memory_size, "cuda").train()
    if checkpointed:
        student.activation_checkpointing_enable()
    fits, batch = 0, 64
    while True:
        try:
            images = torch.randn(batch, 3, args.memory_size, args.memory_size, device="cuda")
            step_of(student, images, torch.zeros(batch, dtype=torch.int64, device="cuda"), "cuda")()
        except torch.OutOfMemoryError:
            return fits
        finally:
            torch.cuda.empty_cache()
        fits, batch = batch, int(batch * 1.25)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--student", default="efficientnet_b0")
    flags.add_argument("--size", type=int, default=224)
    flags.add_argument("--batch", type=int, default=None, help="4 on a CPU, 128 on a GPU where not given.")
    flags.add_argument("--memory_student", default="tf_efficientnet_b1")
    flags.add_argument("--memory_size", type=int, default=240)
    flags.add_argument("--memory_batch", type=int, default=2)
    args = flags.parse_args(argv)
    if args.smoke:
        args.student = args.memory_student = "test_efficientnet"
        args.size = args.memory_size = 64
    batch = args.batch or (4 if args.device == "cpu" else 128)
    # As batches of images come out of a loader.
    images = torch.randn(batch, 3, args.size, args.size, device=args.device).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=args.device)
    plain, light = (student_of(args.student, each, args.size, args.device) for each in (None, "light"))
    told = f"{args.student} at {args.size} px, B {batch}, channels_last"
    for student in (plain, light):
        student.eval()
    inference = compare(*(inference_of(each, images, args.device) for each in (light, plain)), pairs=args.pairs)
    for student in (plain, light):
        student.train()
    training = compare(*(step_of(each, images, labels, args.device) for each in (light, plain)), pairs=args.pairs)
    table = memory_table(args)
    for entry in table:
        entry["largest_batch_of_80_gb"] = largest_batch(entry, 80 * 10**9)
        if args.device == "cuda" and entry["distiller"] != "paper":
            fits = largest_batch_that_fits(args, entry["distiller"], entry["gradient_checkpointing"])
            entry["largest_batch_that_fits"] = fits
        parts = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in entry["bytes_an_image"].items())
        peak = f"peak {entry['peak_bytes_an_image'] / 2**20:.1f} MiB"
        told_of = f"distiller {entry['distiller']}, gradient checkpointing {entry['gradient_checkpointing']}"
        print(f"{told_of}: {parts}, {peak} an image; predicted for 80 GB: batch {entry['largest_batch_of_80_gb']}")
    rows = [
        Row(7, "light distiller over the plain student, inference", inference, 1.05, note=told),
        Row(7, "light distiller over the plain student, training", training, 1.10, note=told),
    ]
    report(rows, "distiller", args, {"memory": table})


if __name__ == "__main__":
    run_command(main)
