"""Layout, precision and workers that follow from the machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from exrep_hf import DistillationArguments
from exrep_hf.data import DistillationDataset, ViewTransform
from exrep_hf.data.datasets import SeededDataset
from exrep_hf.training import machine
from exrep_hf.training.machine import complete_for_machine, has_convolutions, lay_out, loader_workers
from tests.training.conftest import PREPROCESSING

CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
PATCHES = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.Linear(4, 4))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let settings find a GPU, and tell what TF32 was set to."""
    set_to: list[bool] = []
    monkeypatch.setattr(DistillationArguments, "device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")
    monkeypatch.setattr(machine, "is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.setattr(machine, "is_torch_tf32_available", lambda: True)
    monkeypatch.setattr(machine, "enable_tf32", set_to.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return set_to


def arguments(folder: Path, **settings: Any) -> DistillationArguments:
    return DistillationArguments(str(folder), **settings)


def test_a_gpu(gpu: list[bool], tmp_path: Path, make_images: Callable[[int], Any]) -> None:
    images = SeededDataset(DistillationDataset(make_images(12), ViewTransform(PREPROCESSING), "image"), 0)
    given = arguments(tmp_path)
    args, told = (chosen := complete_for_machine(given, [CONVOLUTIONS], images)).args, chosen.told
    assert (args.bf16, args.mixed_precision, args.tf32, args.channels_last) == (True, "bf16", True, True)
    assert (args.dataloader_num_workers, args.dataloader_persistent_workers) == (7, True)
    configs: list[Any] = [args.accelerator_config, given.accelerator_config]
    assert gpu == [True] and [config.non_blocking for config in configs] == [True, False]
    assert told == (
        "bfloat16, TF32, channels_last, 7 workers that decode images, on each process: chosen for NVIDIA X, as "
        "nothing was given",
    )
    assert given.bf16 is None and given.channels_last is None, "the caller's settings have changed"


def test_what_is_given_stays(gpu: list[bool], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"bf16": False, "tf32": False, "channels_last": False, "dataloader_num_workers": 0}
    chosen = complete_for_machine(arguments(tmp_path, **settings), [CONVOLUTIONS], [1])
    assert {name: getattr(chosen.args, name) for name in settings} == settings
    assert chosen.told == () and gpu == []


def test_half_precision_of_a_launcher(gpu: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    args = complete_for_machine(arguments(tmp_path), [CONVOLUTIONS], [1]).args
    assert (args.bf16, args.mixed_precision) == (False, "fp16")


def test_backends_that_have_rules_of_their_own(
    gpu: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    under_fsdp = complete_for_machine(args, [CONVOLUTIONS], [1]).args
    assert (under_fsdp.channels_last, under_fsdp.bf16) == (False, True)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    chosen = complete_for_machine(args, [CONVOLUTIONS], [1])
    assert (chosen.args.channels_last, chosen.args.bf16, chosen.args.tf32) == (False, False, None)


def test_an_evaluation_alone_computes_as_training_does(gpu: list[bool], tmp_path: Path) -> None:
    """What a student reaches before and after is compared, and a process has one precision."""
    args = complete_for_machine(arguments(tmp_path), [CONVOLUTIONS], None).args
    assert (args.bf16, args.mixed_precision, args.tf32) == (True, "bf16", None)
    assert (args.channels_last, args.dataloader_num_workers) == (True, 0)


def test_the_papers_settings_leave_nothing_to_choose(gpu: list[bool], tmp_path: Path) -> None:
    paper = DistillationArguments.from_preset("exrep-paper", output_dir=str(tmp_path))
    args = complete_for_machine(paper, [CONVOLUTIONS], [1]).args
    assert (args.bf16, args.tf32, args.channels_last) == (False, False, False)


def test_a_cpu(tmp_path: Path) -> None:
    """In bfloat16 depthwise convolutions are slower in channels_last there."""
    args = arguments(tmp_path, use_cpu=True)
    chosen = complete_for_machine(args, [PATCHES, CONVOLUTIONS], [1])
    assert (chosen.args.channels_last, chosen.args.bf16, chosen.args.dataloader_num_workers) == (True, False, 0)
    assert chosen.told == ("channels_last: chosen for a CPU, as nothing was given",)
    assert not complete_for_machine(args, [PATCHES], [1]).args.channels_last
    half = arguments(tmp_path, use_cpu=True, bf16=True)
    assert not complete_for_machine(half, [CONVOLUTIONS], [1]).args.channels_last


def test_workers_only_for_images_that_are_decoded_here(gpu: list[bool], tmp_path: Path) -> None:
    """A data set of the user's may hold what can't be passed to another process."""
    args = arguments(tmp_path)
    assert complete_for_machine(args, [PATCHES], SeededDataset([{}], 0)).args.dataloader_num_workers == 0
    assert loader_workers(args) == 7
    given = arguments(tmp_path, dataloader_num_workers=3)
    assert loader_workers(given) == 3
    # As with transformers' own default.
    assert complete_for_machine(given, [PATCHES], [1]).args.dataloader_persistent_workers is False


def test_several_processes_share_the_cores(gpu: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loader_workers(arguments(tmp_path)) == 1


def test_layout_changes_no_weight(tmp_path: Path) -> None:
    network = timm.create_model("test_efficientnet", num_classes=4).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    expected = network(images)
    lay_out([network], arguments(tmp_path, use_cpu=True, channels_last=True))
    convolutions = [value for value in network.state_dict().values() if value.ndim == 4]
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in convolutions)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


def test_networks_of_convolutions() -> None:
    assert has_convolutions(timm.create_model("resnet18"))
    assert not has_convolutions(timm.create_model("vit_tiny_patch16_224"))


def test_the_trainer_lays_out_both(make_trainer: Any, make_images: Callable[[int], Any], capsys: Any) -> None:
    trainer = make_trainer(train_dataset=make_images(12), max_steps=1)
    networks = [trainer.student, *trainer.teacher.networks()]
    for network in networks:
        weights = [value for value in network.parameters() if value.ndim == 4 and 1 not in value.shape[1:]]
        assert weights and all(value.is_contiguous(memory_format=torch.channels_last) for value in weights)
    trainer.train()
    assert "channels_last: chosen for a CPU, as nothing was given" in capsys.readouterr().out


def test_weights_with_an_axis_of_time_stay(tmp_path: Path) -> None:
    """`to(memory_format=torch.channels_last)` would refuse the whole network."""
    images, videos = nn.Conv2d(3, 4, 3), nn.Conv3d(4, 4, 3)
    lay_out([nn.Sequential(images, videos)], arguments(tmp_path, use_cpu=True, channels_last=True))
    assert images.weight.is_contiguous(memory_format=torch.channels_last) and videos.weight.is_contiguous()
