"""Two real processes train the student that one process trains with twice the batch, on every backend."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from exrep_hf import ExRepForImageClassification

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "recipes" / "accelerate"
SCRIPT = Path(__file__).with_name("two_processes.py")
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
KEEP_WEIGHTS_WHOLE = ("ddp", "deepspeed_zero1", "deepspeed_zero2")
LOSSES = ("loss", "loss_ce", "loss_kd", "loss_feature", "loss_crd", "loss_adversarial", "loss_critic", "loss_own")
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)

WRAPPERS = {"ddp": "DistributedDataParallel", "fsdp2": "FSDPModule", "deepspeed": "DeepSpeedEngine"}
BACKENDS = [
    "ddp",
    "fsdp2_full",
    "fsdp2_sharded",
    *(
        pytest.param(f"deepspeed_{name}", marks=needs_deepspeed)
        for name in ("zero1", "zero2", "zero3", "zero3_offload")
    ),
]


def environment() -> dict[str, str]:
    extensions = Path.home() / ".cache" / "torch_extensions"
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # What the script shares with other tests is found from the root.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "TORCH_EXTENSIONS_DIR": os.environ.get("TORCH_EXTENSIONS_DIR", str(extensions)),
    }


def command(config: str | None, script: Path = SCRIPT, launch: tuple[str, ...] = ()) -> list[str]:
    """One process without a config, two with one."""
    if config is None:
        return [sys.executable, str(script)]
    asked = ("--num_processes", "2", "--main_process_port", "0")
    return [*ACCELERATE, "--config_file", str(CONFIGS / f"{config}.yaml"), *(launch or asked), str(script)]


def flags(config: str | None, folder: Path, **settings: Any) -> list[str]:
    sharded = config is not None and config.startswith("fsdp2")
    device = {"ddp_backend": "gloo"} if config and config.startswith("deepspeed") else {"use_cpu": True}
    return [str(folder), "--settings", json.dumps(settings | device), *["--pretend_gpus"] * sharded]


def run(config: str | None, folder: Path, *more: str, **settings: Any) -> list[dict[str, Any]]:
    """What each process of a run wrote."""
    folder.mkdir(exist_ok=True)
    # With FSDP the launcher would look for GPUs.
    extra = {"ACCELERATE_USE_CPU": "true"} if config and config.startswith("fsdp2") else {}
    done = subprocess.run(
        [*command(config), *flags(config, folder, **settings), *more],
        env=environment() | extra, capture_output=True, text=True, timeout=400, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return facts(folder, 1 if config is None else 2)


def facts(folder: Path, processes: int) -> list[dict[str, Any]]:
    return [json.loads((folder / f"facts-{rank}.json").read_text()) for rank in range(processes)]


def load(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run that all others have to equal."""
    folder = tmp_path_factory.mktemp("one")
    (found,) = run(None, folder, per_device_train_batch_size=8)
    assert found["world_size"] == 1 and len(found["history"]) == 20
    return folder, found


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_equal_one_with_twice_the_batch(
    backend: str, one: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Gradients that are not averaged train two students, and backends fall back to others without a word."""
    folder = tmp_path / "two"
    two = run(backend, folder, per_device_train_batch_size=4)
    wrapper = next(name for start, name in WRAPPERS.items() if backend.startswith(start))
    for found in two:
        assert found["world_size"] == 2
        assert wrapper in found["wrapper"], found["wrapper"]
        # DDP broadcasts buffers at each step.
        assert found["sent_buffers"] == []
        assert found["refuses_weights"]
        for step, expected in zip(found["history"], one[1]["history"], strict=True):
            for name in LOSSES:
                assert step[name] == pytest.approx(expected[name], rel=1e-5), (step["step"], name)
        # The negatives of an evaluation are drawn on each process for itself.
        for name in ("eval_loss_ce", "eval_loss_kd", "eval_loss_adversarial", "eval_loss_critic"):
            assert found["metrics"]["even"][name] == pytest.approx(one[1]["metrics"]["even"][name], rel=1e-5), name
        for rows in ("even", "uneven"):
            for name in ("eval_accuracy", "eval_teacher_agreement"):
                assert found["metrics"][rows][name] == one[1]["metrics"][rows][name]
    banks = [load(folder / f"bank-{rank}.pt") for rank in range(2)]
    for name, expected_bank in load(one[0] / "bank-0.pt").items():
        assert torch.equal(banks[0][name], banks[1][name]), name
        torch.testing.assert_close(banks[0][name], expected_bank, rtol=1e-5, atol=1e-5)
    in_memory, saved = load(folder / "student-0.pt"), load_file(folder / "student" / "model.safetensors")
    assert in_memory.keys() == saved.keys()
    for name, value in load(one[0] / "student-0.pt").items():
        assert torch.equal(in_memory[name], saved[name]), name
        torch.testing.assert_close(saved[name], value, rtol=1e-5, atol=1e-5)
    _loads(folder / "student", saved)


@pytest.mark.parametrize("backend", ["ddp", "fsdp2_sharded", pytest.param("deepspeed_zero3", marks=needs_deepspeed)])
def test_the_plain_student_is_saved_whole(backend: str, tmp_path: Path) -> None:
    """A part of it, or a process that waits for others, would be found when the training is over."""
    folder = tmp_path / "two"
    two = run(backend, folder, per_device_train_batch_size=4, max_steps=2, distiller_share=0.5)
    assert [found["world_size"] for found in two] == [2, 2]
    saved, prefix = load_file(folder / "student" / "model.safetensors"), "classifier."
    trained = {name: value for name, value in load(folder / "student-0.pt").items() if name.startswith(prefix)}
    assert {prefix + name for name in saved} == trained.keys()
    model = AutoModelForImageClassification.from_pretrained(folder / "student")
    assert type(model).__name__ == "ResNetForImageClassification"
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained[prefix + name]), name


def _loads(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    model = ExRepForImageClassification.from_pretrained(folder)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("backend", BACKENDS)
def test_resumed_run_equals_an_uninterrupted_one(backend: str, tmp_path: Path) -> None:
    """With moving BatchNorm statistics: of these, backends that split parameters save one process's alone."""
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "max_steps": 8, "optim": "adamw_torch"}
    settings |= {"learning_rate": 2e-3, "per_device_train_batch_size": 4, "freeze_batch_norm": False}
    settings["save_total_limit"] = 0
    settings |= {"ema_decay": 0.8} if backend in KEEP_WEIGHTS_WHOLE else {}
    whole = run(backend, tmp_path, **settings)
    students = [load(path) for path in sorted(tmp_path.glob("student-*.pt"))]
    for path in [*tmp_path.glob("out/checkpoint-[68]/checkpoint_manifest.json"), *tmp_path.glob("student-*.pt")]:
        path.unlink()
    resumed = run(backend, tmp_path, "--resume", **settings)
    assert [found["history"] for found in resumed] == [found["history"] for found in whole]
    for path, expected in zip(sorted(tmp_path.glob("student-*.pt")), students, strict=True):
        received = load(path)
        assert all(torch.equal(received[name], value) for name, value in expected.items())


def test_resumed_with_another_number_of_processes(one: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The bank's rows belong to images, so that the run of one process goes on where that of two was."""
    run("ddp", tmp_path, per_device_train_batch_size=4, save_strategy="steps", save_steps=8, save_total_limit=0)
    for path in tmp_path.glob("out/checkpoint-[12][60]/checkpoint_manifest.json"):
        path.unlink()
    (resumed,) = run(None, tmp_path, "--resume", per_device_train_batch_size=8)
    assert [step["step"] for step in resumed["history"]] == list(range(1, 21))
    for step, expected in zip(resumed["history"], one[1]["history"], strict=True):
        for name in LOSSES:
            assert step[name] == pytest.approx(expected[name], rel=1e-5), (step["step"], name)


@pytest.mark.parametrize("backend", ["ddp", pytest.param("deepspeed_zero2", marks=needs_deepspeed)])
def test_two_processes_average_as_one(backend: str, one: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """What is trained does not notice; the figures are those of the student that is saved."""
    average: dict[str, Any] = {"ema_decay": 0.9}
    (alone,) = run(None, tmp_path / "one", per_device_train_batch_size=8, **average)
    two = run(backend, tmp_path / "two", per_device_train_batch_size=4, **average)
    for found in (alone, *two):
        for step, expected in zip(found["history"], one[1]["history"], strict=True):
            assert step["loss"] == pytest.approx(expected["loss"], rel=1e-5), step["step"]
        assert found["metrics"]["even"]["eval_loss_ce"] == pytest.approx(alone["metrics"]["even"]["eval_loss_ce"])
    students = [load(tmp_path / "two" / f"student-{rank}.pt") for rank in range(2)]
    saved = load_file(tmp_path / "two" / "student" / "model.safetensors")
    trained = load(one[0] / "student-0.pt")
    for name, value in load(tmp_path / "one" / "student-0.pt").items():
        assert torch.equal(students[0][name], students[1][name]) and torch.equal(students[0][name], saved[name]), name
        torch.testing.assert_close(saved[name], value, rtol=1e-5, atol=1e-5)
    assert max((saved[name] - value).abs().max() for name, value in trained.items()) > 1e-3


@pytest.mark.parametrize(
    ("backend", "said"),
    [("fsdp2_full", "FSDP"), pytest.param("deepspeed_zero3", "ZeRO-3", marks=needs_deepspeed)],
)
def test_no_average_of_weights_in_parts(backend: str, said: str, tmp_path: Path) -> None:
    """Before training, and not at its first checkpoint."""
    extra = {"ACCELERATE_USE_CPU": "true"} if backend.startswith("fsdp2") else {}
    done = subprocess.run(
        [*command(backend), *flags(backend, tmp_path, ema_decay=0.9)],
        env=environment() | extra, capture_output=True, text=True, timeout=200, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(f"`ema_decay` is 0.9 and {said} splits the student's weights", done.stderr), done.stderr[-3000:]


def test_accumulated_gradients(tmp_path: Path) -> None:
    """Terms without a bank: 2 processes of 2 accumulated batches of 2 are one batch of 8."""
    settings: dict[str, Any] = {"crd_weight": 0.0, "max_steps": 20}
    (one,) = run(None, tmp_path / "one", per_device_train_batch_size=8, **settings)
    two = run("ddp", tmp_path / "two", per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings)
    for step, expected in zip(two[0]["history"], one["history"], strict=True):
        for name in set(LOSSES) - {"loss_crd"}:
            assert step[name] == pytest.approx(expected[name], rel=1e-5), (step["step"], name)


@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("ddp", {"bf16": True}),
        pytest.param("deepspeed_zero2_bf16", {}, marks=needs_deepspeed),
        ("ddp", {"torch_compile": True, "torch_compile_backend": "aot_eager"}),
    ],
)
def test_half_precision_and_compilation(
    backend: str, settings: dict[str, Any], one: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    two = run(backend, tmp_path, per_device_train_batch_size=4, **settings)
    tolerance = 1e-5 if "torch_compile" in settings else 0.05
    differences = [
        abs(step[name] / expected[name] - 1)
        for step, expected in zip(two[0]["history"], one[1]["history"], strict=True)
        for name in ("loss", "loss_ce", "loss_crd", "loss_critic")
    ]
    assert max(differences) < tolerance
    if "torch_compile" not in settings:
        assert max(differences) > 1e-5, "nothing ran in half precision"


@pytest.mark.parametrize(
    ("config", "launch", "settings", "said"),
    [
        # One process, where two were asked for.
        (None, ("--cpu", "--num_processes", "2"), {"use_cpu": True}, "asks for 2 processes and 1 train together"),
        # Two runs of one process each.
        ("ddp", (), {}, "2 processes were started, but this one trains with 1"),
        # DDP in the place of FSDP.
        ("fsdp2_full", (), {"use_cpu": True}, "FSDP was asked for, but accelerate runs MULTI_CPU"),
        pytest.param("deepspeed_zero1", (), {}, "2 processes were started, but", marks=needs_deepspeed),
    ],
)  # fmt: skip
def test_launches_that_would_run_something_else(
    config: str | None, launch: tuple[str, ...], settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Each of them ends with exit code 0 and a student, if nobody looks."""
    started = [*ACCELERATE, *launch, str(SCRIPT)] if config is None else command(config, launch=launch)
    done = subprocess.run(
        [*started, str(tmp_path), "--settings", json.dumps(settings)],
        env=environment() | {"EXREP_NUM_PROCESSES": "2"}, capture_output=True, text=True, timeout=200, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(said, done.stderr), done.stderr[-3000:]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_machines(one: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The rendezvous of recipes/slurm/train.sbatch, as two launches on one host."""
    port = str(free_port())
    launches = []
    for machine in ("0", "1"):
        where: tuple[str, ...] = ("--num_machines", "2", "--machine_rank", machine, "--num_processes", "2")
        where += ("--main_process_ip", "127.0.0.1", "--main_process_port", port)
        started = [*command("ddp", launch=where), *flags("ddp", tmp_path, per_device_train_batch_size=4)]
        launches.append(subprocess.Popen(started, env=environment(), stderr=subprocess.DEVNULL, cwd=ROOT))
    assert [launch.wait(300) for launch in launches] == [0, 0]
    for found in facts(tmp_path, 2):
        assert found["world_size"] == 2
        assert found["history"][-1]["loss"] == pytest.approx(one[1]["history"][-1]["loss"], rel=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_process_ends_the_run(rank: int, tmp_path: Path) -> None:
    """Others that wait for it forever cost a night of a cluster."""
    long = flags("ddp", tmp_path, per_device_train_batch_size=4, max_steps=100_000)
    launch = subprocess.Popen(
        [*command("ddp"), *long],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    mark, deadline = tmp_path / f"process-{rank}", time.monotonic() + 200
    while not mark.is_file() or not mark.read_text():
        assert time.monotonic() < deadline and launch.poll() is None
        time.sleep(0.1)
    time.sleep(3)
    os.kill(int(mark.read_text()), signal.SIGKILL)
    died = time.monotonic()
    _, said = launch.communicate(timeout=60)
    assert time.monotonic() - died < 60 and launch.returncode != 0
    assert f"rank      : {rank} (local_rank: {rank})" in said and "SIGKILL" in said


@pytest.mark.parametrize("backend", ["ddp", pytest.param("deepspeed_zero3", marks=needs_deepspeed)])
def test_recipe(backend: str, tmp_path: Path) -> None:
    """A study makes one trainer after the other, and takes each student out of its backend for the next stage."""
    short = "--max_steps 4 --teacher_steps 3 --student_steps 2 --num_seeds 1 --logging_steps 2 --max_eval_samples 50"
    device = "--ddp_backend gloo" if backend.startswith("deepspeed") else "--use_cpu true"
    short += " --per_device_train_batch_size 32 --no_doctor"
    given = f"--config recipes/digits.yaml {short} {device} --output_dir {tmp_path}/out"
    started = [*command(backend, ROOT / "recipes" / "train.py"), *given.split()]
    done = subprocess.run(started, env=environment(), capture_output=True, text=True, timeout=400, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["processes"] == 2 and set(results["arms"]) == {"ce", "kd", "exrep"}
    model = ExRepForImageClassification.from_pretrained(tmp_path / "out")
    assert all(parameter.numel() for parameter in model.parameters())


def test_a_run_that_would_be_wasted(tmp_path: Path) -> None:
    """The doctor's look ends all processes, before anything is trained."""
    flags = f"--config recipes/digits.yaml --use_cpu true --learning_rate 5 --output_dir {tmp_path}/out"
    started = [*command("ddp", ROOT / "recipes" / "train.py"), *flags.split()]
    done = subprocess.run(started, env=environment(), capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode != 0 and "This run would be wasted: the learning rate is 5" in done.stderr
    assert not (tmp_path / "out" / "teacher").exists()
