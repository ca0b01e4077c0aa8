"""Launches that would run something else than what was asked for."""

import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

from exrep_hf import DistillationArguments
from exrep_hf.training import launch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def args(tmp_path: Path) -> DistillationArguments:
    return DistillationArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")


def test_one_process_is_fine(args: DistillationArguments) -> None:
    launch.check_processes(args)


def test_processes_that_train_alone(args: DistillationArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="4 processes were started, but this one trains with 1.*--use_cpu true"):
        launch.check_processes(args)


@pytest.mark.parametrize(
    ("asked", "said"), [("2", "asks for 2 processes and 1 train together.*--multi_gpu"), ("1", None)]
)
def test_fewer_processes_than_asked_for(
    asked: str, said: str | None, args: DistillationArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--cpu --num_processes 2` starts one process, without a word of accelerate's."""
    monkeypatch.setenv("EXREP_NUM_PROCESSES", asked)
    if said is None:
        launch.check_processes(args)
        return
    with pytest.raises(ValueError, match=said):
        launch.check_processes(args)


def test_several_were_asked_for_and_one_was_started(
    args: DistillationArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment; one may be what is wanted."""
    launched = Namespace(**vars(launch_command_parser().parse_args(["--cpu", "--num_processes", "2", "train.py"])))
    launched.num_machines, launched.mixed_precision, launched.dynamo_backend = 1, "no", "no"
    for name, value in prepare_simple_launcher_cmd_env(launched)[1].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="asked for several processes and started one.*--multi_gpu"):
        launch.check_processes(args)
    monkeypatch.setenv("EXREP_NUM_PROCESSES", "1")
    launch.check_processes(args)


def test_a_number_that_is_none(args: DistillationArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXREP_NUM_PROCESSES", "two")
    with pytest.raises(ValueError, match="`EXREP_NUM_PROCESSES` is 'two'; expected the number of processes"):
        launch.check_processes(args)


@pytest.mark.parametrize(
    ("index", "count", "told"),
    [(0, 1, "training in 1 process\n"), (0, 8, "training in 8 processes\n"), (1, 8, "")],
)
def test_the_number_of_processes_is_told(
    index: int, count: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, by the main process: what no check can know, the reader sees."""
    launch.tell_processes(SimpleNamespace(process_index=index, world_size=count))  # type: ignore[arg-type]
    assert capsys.readouterr().out == told


def _accelerator(running: DistributedType, config: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(distributed_type=running, deepspeed_plugin=SimpleNamespace(deepspeed_config=config))


@pytest.mark.parametrize(
    ("running", "stage", "said"),
    [
        (DistributedType.FSDP, None, "`ema_decay` is 0.99 and FSDP splits the student's weights.*Train with DDP"),
        (DistributedType.DEEPSPEED, 3, "`ema_decay` is 0.99 and ZeRO-3 splits.*or leave `ema_decay` out"),
        (DistributedType.DEEPSPEED, 2, None),
        (DistributedType.MULTI_GPU, None, None),
    ],
)
def test_weights_in_parts_have_no_average(
    running: DistributedType, stage: int | None, said: str | None, args: DistillationArguments
) -> None:
    args.ema_decay = 0.99
    zero = {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True}
    accelerator = _accelerator(running, {"zero_optimization": zero})
    if said is None:
        launch.check_backend(accelerator, args)
        return
    with pytest.raises(ValueError, match=said):
        launch.check_backend(accelerator, args)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FSDP", "FSDP was asked for, but accelerate runs MULTI_CPU"),
        ("DEEPSPEED", "DEEPSPEED was asked for.*--ddp_backend gloo"),
    ],
)
def test_another_backend(name: str, said: str, args: DistillationArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.check_backend(_accelerator(DistributedType.MULTI_CPU), args)
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    launch.check_backend(_accelerator(DistributedType[name], {}), args)
    with pytest.raises(ValueError, match=said):
        launch.check_backend(_accelerator(DistributedType.MULTI_CPU), args)


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        ({"bf16": {"enabled": True}}, {}, "`bf16.enabled: True`, which casts the whole network.*torch_autocast"),
        ({"bf16": {"enabled": "auto"}}, {"bf16": True}, "`bf16.enabled: auto`"),
        ({"fp16": {"enabled": True}}, {}, "`fp16.enabled: True`"),
        ({"zero_optimization": {"stage": 3}}, {}, "no student could be saved whole"),
        ({"optimizer": {"type": "AdamW"}}, {"critic_learning_rate": 0.1}, "ignores `critic_learning_rate`"),
        ({"bf16": {"enabled": "auto"}, "optimizer": {}, "zero_optimization": {"stage": 2}}, {}, None),
    ],
)
def test_deepspeed_configs(
    config: dict[str, Any], changes: dict[str, Any], said: str | None, args: DistillationArguments
) -> None:
    for name, value in changes.items():
        setattr(args, name, value)
    accelerator = _accelerator(DistributedType.DEEPSPEED, config)
    if said is None:
        launch.check_backend(accelerator, args)
        return
    with pytest.raises(ValueError, match=said):
        launch.check_backend(accelerator, args)


CONFIGS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_read(path: Path) -> None:
    """A key that accelerate does not know is an error, and DeepSpeed's own config has to lie where it is said to."""
    config = load_config_from_file(str(path))
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed": "DEEPSPEED"}
    assert config.distributed_type == kinds[path.stem.partition("_")[0]]
    if path.stem.startswith("deepspeed"):
        named = config.deepspeed_config["deepspeed_config_file"]
        assert named == f"recipes/accelerate/{path.stem}.json"
        accelerator = _accelerator(DistributedType.DEEPSPEED, json.loads((ROOT / named).read_text()))
        launch.check_backend(accelerator, DistillationArguments(output_dir="-", use_cpu=True, report_to="none"))
