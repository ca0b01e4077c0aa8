"""Launches that would run something else than what was asked for."""

import contextlib
import io
import os
from typing import Any

import psutil
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from exrep_hf.arguments import DistillationArguments


def check_processes(args: DistillationArguments) -> None:
    """Make sure that as many processes train together as were started or asked for.

    Raises:
        ValueError: naming both numbers.
    """
    if args.n_gpu > 1:
        raise ValueError(
            f"One process sees {args.n_gpu} GPUs; expected one process a GPU, as the memory bank can't be split. "
            "Start with `accelerate launch` or `torchrun`, or set CUDA_VISIBLE_DEVICES to one GPU."
        )
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started != args.world_size:
        raise ValueError(
            f"{started} processes were started, but this one trains with {args.world_size}: each would train its own "
            "student. On a CPU, add `--use_cpu true` (with DeepSpeed `--ddp_backend gloo` in its place)."
        )
    asked = asked_of_launcher()
    if asked is not None and asked > args.world_size:
        raise ValueError(
            f"`accelerate launch` was asked for {asked} processes and {args.world_size} train together: with `--cpu` "
            "or `distributed_type: MULTI_CPU` it starts one, and with `pdsh` those of one node. Use `--multi_gpu` (or "
            "recipes/accelerate/ddp.yaml), and on a CPU `--use_cpu true` behind the name of the script."
        )


def asked_of_launcher() -> int | None:
    """The number of processes in the command line or config of the `accelerate launch` that started this process.

    `EXREP_NUM_PROCESSES` stands for it where launchers stand between them, as on several nodes.
    """
    if "EXREP_NUM_PROCESSES" in os.environ:
        return int(os.environ["EXREP_NUM_PROCESSES"])
    try:
        parent = psutil.Process().parent()
        command = [] if parent is None else parent.cmdline()
    except psutil.Error:
        return None
    start = next((place for place, word in enumerate(command) if word == "accelerate.commands.launch"), None)
    if start is None and any(os.path.basename(word) in ("accelerate", "accelerate-launch") for word in command[:2]):
        start = next((place for place, word in enumerate(command) if word in ("launch",)), 1)
    if start is None:
        return None
    with contextlib.suppress(SystemExit, OSError, ValueError), contextlib.redirect_stderr(io.StringIO()):
        asked = launch_command_parser().parse_args(command[start + 1 :])
        if asked.num_processes is None and asked.config_file is not None:
            return getattr(load_config_from_file(asked.config_file), "num_processes", None)
        return asked.num_processes
    return None


def allow_another_accelerator() -> None:
    """Let a process make one trainer after another: accelerate takes a DeepSpeed plugin once alone."""
    if _is_set("ACCELERATE_USE_DEEPSPEED"):
        AcceleratorState._reset_state()


def check_backend(accelerator: Accelerator, args: DistillationArguments) -> None:
    """Make sure that the backend that was asked for is the one that runs, and can train students.

    Raises:
        ValueError: naming the backend and the setting to change.
    """
    running = accelerator.distributed_type
    for name, wanted in (("FSDP", DistributedType.FSDP), ("DEEPSPEED", DistributedType.DEEPSPEED)):
        if _is_set(f"ACCELERATE_USE_{name}") and running != wanted:
            raise ValueError(
                f"{wanted.value} was asked for, but accelerate runs {running.value}. "
                + (
                    "It shards on accelerators such as GPUs alone; on a CPU use DDP or DeepSpeed."
                    if wanted == DistributedType.FSDP
                    else "Start with `accelerate launch --use_deepspeed`, and on a CPU with `--ddp_backend gloo`."
                )
            )
    if running == DistributedType.DEEPSPEED:
        _check_deepspeed(accelerator.deepspeed_plugin.deepspeed_config, args)


def _check_deepspeed(config: dict[str, Any], args: DistillationArguments) -> None:
    for dtype, wanted in (("bf16", args.bf16), ("fp16", args.fp16)):
        enabled = (config.get(dtype) or {}).get("enabled", False)
        if enabled is True or (enabled == "auto" and wanted):
            raise ValueError(
                f"DeepSpeed's config has `{dtype}.enabled: {enabled}`, which casts the whole network: BatchNorm and "
                'the teacher need float32. Put `"torch_autocast": {"enabled": true, "dtype": "bfloat16"}` in its '
                "place (recipes/accelerate/deepspeed_zero2_bf16.json does so)."
            )
    zero = config.get("zero_optimization", {})
    if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save", False):
        raise ValueError(
            "DeepSpeed's config has `zero_optimization.stage: 3` without `stage3_gather_16bit_weights_on_model_save: "
            "true`: no student could be saved whole. Add it."
        )
    if "optimizer" in config and args.critic_learning_rate is not None:
        raise ValueError(
            f"DeepSpeed's config has an `optimizer` block, which ignores `critic_learning_rate` "
            f"({args.critic_learning_rate}). Leave the block out: the Trainer's optimizer is used then."
        )


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")
