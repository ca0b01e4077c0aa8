"""Memory layout, precision and workers of the loader: what is fastest on a machine, where nothing is given."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.utils import is_torch_bf16_gpu_available, is_torch_tf32_available
from transformers.utils.import_utils import enable_tf32

from exrep_hf.arguments import DistillationArguments
from exrep_hf.data.datasets import DistillationDataset, SeededDataset
from exrep_hf.data.rows import parts_of
from exrep_hf.main_process import cores_of_process
from exrep_hf.training.default_settings import Chosen
from exrep_hf.training.launch import is_deepspeed, is_fsdp

# More of them fill memory with batches that wait.
_MOST_WORKERS = 16


def complete_for_machine(args: DistillationArguments, networks: Sequence[nn.Module], train_dataset: Any) -> Chosen:
    """Fill in memory layout, precision and workers.

    On GPUs, networks of convolutions are laid out in channels_last, training and evaluation compute in bfloat16 where
    the GPU has it, training in TF32 what stays in float32, and images are decoded by a worker a core, up to 16. On
    CPUs, networks of convolutions that compute in float32 are laid out in channels_last. A launcher's
    `--mixed_precision` of a half precision counts as given; DeepSpeed's config decides of layout and precision itself.

    Args:
        args: settings, which are not changed.
        networks: student and teachers.
        train_dataset: what is trained on; None: nothing.

    Returns:
        Settings that leave none of this open.
    """
    args, told = copy.copy(args), []
    on_gpu, free = is_gpu(args.device), not is_deepspeed(args)
    trains = train_dataset is not None
    if args.bf16 is None:
        # Also where nothing is trained: a process has one precision for all its trainers (accelerate's), and what a
        # student reaches before and after is compared.
        args.bf16 = on_gpu and free and args.mixed_precision == "no" and is_torch_bf16_gpu_available()
        if args.bf16:
            args.mixed_precision = "bf16"
            told.append("bfloat16")
    if args.tf32 is None and on_gpu and free and trains and is_torch_tf32_available():
        args.tf32 = True
        enable_tf32(True)
        told.append("TF32")
    if args.channels_last is None:
        # On CPUs bfloat16 is slower in it, where convolutions are depthwise.
        pays = on_gpu or args.mixed_precision == "no"
        args.channels_last = pays and free and not is_fsdp(args) and any(map(has_convolutions, networks))
        told += ["channels_last"] * args.channels_last
    stays = False
    if args.dataloader_num_workers is None:
        args.dataloader_num_workers = loader_workers(args) if decodes_images(train_dataset) else 0
        stays = args.dataloader_num_workers > 0
        told += [f"{args.dataloader_num_workers} workers that decode images, on each process"] * stays
    if args.dataloader_persistent_workers is None:
        # Of those that are given as with transformers itself, which ends them after each epoch.
        args.dataloader_persistent_workers = stays
    if on_gpu and args.dataloader_pin_memory:
        # From pinned memory, so that nobody waits for the copy of a batch.
        config: Any = args.accelerator_config
        args.accelerator_config = dataclasses.replace(config, non_blocking=True)
    where = torch.cuda.get_device_name(args.device) if on_gpu else "a CPU"
    return Chosen(args, (f"{', '.join(told)}: chosen for {where}, as nothing was given",) if told else ())


def is_gpu(device: torch.device) -> bool:
    """Return whether what pays on GPUs is chosen."""
    return device.type == "cuda"


def lay_out(networks: Sequence[nn.Module], args: DistillationArguments) -> None:
    """Lay networks out as settings say; in place, and without a change of any weight."""
    for network in networks if args.channels_last else ():
        # Of images alone: `to(memory_format=…)` refuses weights with an axis of time, as those of Conv3d.
        network._apply(lambda value: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value)


def has_convolutions(network: nn.Module) -> bool:
    """Whether a network has more convolutions of images than the one that cuts them into patches."""
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1


def loader_workers(args: DistillationArguments) -> int:
    """Return how many workers decode images for a process; where none are given one a core but its own, on GPUs."""
    if args.dataloader_num_workers is not None or args.device.type != "cuda":
        return args.dataloader_num_workers or 0
    return min(_MOST_WORKERS, max(1, cores_of_process() - 1))


def decodes_images(dataset: Any) -> bool:
    """Whether items of a data set are made from images here: other data sets may not be for several processes."""
    inner = dataset.dataset if isinstance(dataset, SeededDataset) else dataset
    return any(isinstance(part, DistillationDataset) for part in parts_of(inner))
