"""Launches that would run something else than what was asked for.

Of accelerate `_reset_state` is taken that is not public, and only here: a process that makes one trainer after another
could not give the second one its DeepSpeed plugin.
"""

import dataclasses
import os
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from exrep_hf.arguments import DistillationArguments
from exrep_hf.main_process import print_once

PROCESSES_VARIABLE = "EXREP_NUM_PROCESSES"
"""Environment variable by which a launch says how many processes it starts, on all nodes together."""


def check_processes(args: DistillationArguments) -> None:
    """Make sure that as many processes train together as were started or asked for.

    Raises:
        ValueError: naming both numbers: those that a launcher started, or that `EXREP_NUM_PROCESSES` asks for, and
            those that train.
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
            "student. On a CPU, add `--use_cpu true` (with DeepSpeed `--ddp_backend gloo` instead)."
        )
    asked = _asked_processes()
    if asked is None and _is_one_of_several():
        raise ValueError(
            "`accelerate launch` was asked for several processes and started one: it does so with `--cpu`, and where "
            "it finds no GPU. Use `--multi_gpu` (or `--config_file recipes/accelerate/ddp.yaml`), and on a CPU "
            f"`--use_cpu true` behind the name of the script. If one is what you want, set `{PROCESSES_VARIABLE}=1`."
        )
    if asked is not None and asked > args.world_size:
        raise ValueError(
            f"`{PROCESSES_VARIABLE}` asks for {asked} processes and {args.world_size} train together: with `--cpu` or "
            "`distributed_type: MULTI_CPU` `accelerate launch` starts one, and with `pdsh` those of one node. Use "
            "`--multi_gpu` (or recipes/accelerate/ddp.yaml), and on a CPU `--use_cpu true` behind the name of the "
            "script."
        )


def _is_one_of_several() -> bool:
    """Whether accelerate's launcher of one process was asked for more: then it says where they are to meet."""
    is_launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    return is_launched and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ


def _asked_processes() -> int | None:
    asked = os.environ.get(PROCESSES_VARIABLE)
    if asked is not None and not asked.isdecimal():
        raise ValueError(
            f"The environment variable `{PROCESSES_VARIABLE}` is {asked!r}; expected the number of processes that are "
            "started. Set it to that, or unset it."
        )
    return None if asked is None else int(asked)


def tell_processes(args: DistillationArguments) -> None:
    """Print on how many processes a training runs: a launcher that starts fewer than were asked for says nothing."""
    if args.process_index == 0:
        print_once(f"training in {args.world_size} process{'es' * (args.world_size != 1)}")


def allow_another_accelerator() -> None:
    """Let a process make one trainer after another: accelerate takes a DeepSpeed plugin once alone."""
    if _is_set("ACCELERATE_USE_DEEPSPEED"):
        AcceleratorState._reset_state()


def read_on_each_process(args: DistillationArguments) -> None:
    """Let each process read a stream and make the items of its own batches; else the first makes those of all."""
    config: Any = args.accelerator_config
    if config.dispatch_batches is None:
        args.accelerator_config = dataclasses.replace(config, dispatch_batches=False)


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
    if args.ema_decay is not None:
        _check_average(accelerator, args.ema_decay)
    if running == DistributedType.FSDP and args.channels_last:
        raise ValueError(
            "`channels_last` is True and FSDP splits the student's weights, which it takes in the usual layout alone. "
            "Leave `channels_last` out."
        )
    if running == DistributedType.DEEPSPEED:
        _check_deepspeed(accelerator.deepspeed_plugin.deepspeed_config, args)


def _check_average(accelerator: Accelerator, decay: float) -> None:
    running = accelerator.distributed_type
    config = accelerator.deepspeed_plugin.deepspeed_config if running == DistributedType.DEEPSPEED else {}
    is_zero3 = config.get("zero_optimization", {}).get("stage") == 3
    if running == DistributedType.FSDP or is_zero3:
        raise ValueError(
            f"`ema_decay` is {decay:g} and {'ZeRO-3' if is_zero3 else 'FSDP'} splits the student's weights, of which "
            "no average is kept; expected a backend that leaves them whole. Train with DDP, ZeRO-1 or ZeRO-2 "
            "(recipes/accelerate/ddp.yaml, deepspeed_zero2.yaml), or leave `ema_decay` out."
        )


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


def is_deepspeed(args: DistillationArguments) -> bool:
    """Whether DeepSpeed trains, also before there is an accelerator."""
    return args.deepspeed_plugin is not None or _is_set("ACCELERATE_USE_DEEPSPEED")


def is_fsdp(args: DistillationArguments) -> bool:
    """Whether FSDP trains, also before there is an accelerator."""
    return args.fsdp_plugin_args is not None or _is_set("ACCELERATE_USE_FSDP")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")
