"""Launches that would run something else than what was asked for."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

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


def test_fewer_processes_than_asked_for(args: DistillationArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "asked_of_launcher", lambda: 2)
    with pytest.raises(ValueError, match="asked for 2 processes and 1 train together.*--multi_gpu"):
        launch.check_processes(args)


CONFIG = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 3\nnum_machines: 1\n"


@pytest.mark.parametrize(
    ("started_by", "asked"),
    [
        (["/usr/bin/python", "/venv/bin/accelerate", "launch", "--cpu", "--num_processes", "2", "train.py"], 2),
        (["accelerate", "launch", "--num_processes=4", "train.py", "--num_processes", "9"], 4),
        (["python", "/venv/bin/accelerate-launch", "--num_processes", "5", "train.py"], 5),
        (["python", "-m", "accelerate.commands.launch", "--num_processes", "6", "train.py"], 6),
        (["accelerate", "launch", "--config_file", "CONFIG", "train.py"], 3),
        (["accelerate", "launch", "--config_file", "CONFIG", "--num_processes", "2", "train.py"], 2),
        (["accelerate", "launch", "train.py"], None),
        (["accelerate", "launch", "--unknown"], None),
        (["bash", "-c", "python train.py --num_processes 2"], None),
        (["bash"], None),
        ([], None),
    ],
)
def test_what_the_launcher_was_asked_for(
    started_by: list[str], asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = [word.replace("CONFIG", str(tmp_path / "config.yaml")) for word in started_by]
    parent = SimpleNamespace(cmdline=lambda: words)
    monkeypatch.setattr(launch.psutil, "Process", lambda: SimpleNamespace(parent=lambda: parent))
    assert launch.asked_of_launcher() == asked


def test_what_a_job_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXREP_NUM_PROCESSES", "16")
    assert launch.asked_of_launcher() == 16


def _accelerator(running: DistributedType, config: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(distributed_type=running, deepspeed_plugin=SimpleNamespace(deepspeed_config=config))


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
