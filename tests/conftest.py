"""What tests of several packages share."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.hub_server import Hub  # noqa: E402

# Up, and known to the environment, before anything imports huggingface_hub, which reads it once: no test asks the
# real Hub, and what a test downloads or logs in with stays in a folder of its own.
HUB = Hub({"hf_me": "me", "hf_other": "other"})
_HOME = tempfile.TemporaryDirectory(prefix="hf-home-")
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_TOKEN": "hf_me",
    "HF_HOME": _HOME.name,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms",
}
if sys.dont_write_bytecode:
    # Without bytecode each child process would compile some thousand files, longer than most of them run.
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.path.join(_HOME.name, "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    os.environ.pop(_name, None)

import torch  # noqa: E402

if torch.cuda.is_available():
    # Figures are compared with those of a CPU; what needs a GPU says so by itself (`skipif`).
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")
from hypothesis import settings  # noqa: E402

from exrep_hf.main_process import print_once  # noqa: E402
from tests.processes import Processes  # noqa: E402

# The same examples in every run, without a folder of those that were tried before.
settings.register_profile("same", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def one_thread_and_one_seed() -> Iterator[None]:
    """Figures must not depend on the machine's cores or on the tests that ran before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # What one test was told another may look for.
    print_once.cache_clear()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Processes of one thread on the CPU, all ended after the test."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    several = Processes()
    yield several
    several.kill()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The test Hub, without faults; a request for which it has no route fails the test."""
    # The client waits between its attempts, 23 seconds in all before it gives up.
    quick = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: time.sleep(seconds / 100)})
    monkeypatch.setattr("huggingface_hub.utils._http.time", quick)
    HUB.faults.clear()
    start = len(HUB.log)
    yield HUB
    HUB.faults.clear()
    assert [each for each in HUB.log[start:] if each["status"] in (500, 501)] == []


@pytest.fixture(params=["xet", "lfs"])
def transfer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which large files travel."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "lfs")
    return str(request.param)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study with a removable distiller, whose student is published in both variants."""
    from tests.studies import run_study

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("publishing") / "digits"
    return folder, run_study(folder, controls={}, num_seeds=1, distiller_share=0.5, push_code=True)


def _run(seed: int, before: float, after: float, removed: float | None) -> dict[str, Any]:
    outcome = {
        "after": {"accuracy": after, "top5_accuracy": 1.0},
        "gap_recovered": 100 * (after - before) / (0.9 - before),
    }
    without = None
    if removed is not None:
        without = {"after": {"accuracy": removed}, "gap_recovered": 100 * (removed - before) / (0.9 - before)}
    history = [{"step": step, "loss": 2.0 / step, "loss_kd": 1.0 / step, "epoch": step / 10} for step in (10, 20)]
    return {"seed": seed, "before": {"accuracy": before}, **outcome, "without_distiller": without, "history": history}


def _arm(distiller: str | None, outcomes: list[tuple[float, float, float | None]]) -> dict[str, Any]:
    runs = [_run(seed, *outcome) for seed, outcome in enumerate(outcomes)]
    mean = sum(run["after"]["accuracy"] for run in runs) / len(runs)
    removed = {"accuracy": {"mean": 0.41, "std": 0.0}, "gap_recovered": {"mean": -390.0, "std": 0.0}}
    return {
        "distiller": distiller,
        "changes": {},
        "plain": distiller is None,
        "accuracy": {"mean": mean, "std": 0.01},
        "gap_recovered": {"mean": 50.0, "std": 2.5},
        "without_distiller": removed if distiller else None,
        "cost": {"parameters": 1_234_567, "macs": 2_000_000_000, "images_per_second": 100.0},
        "runs": runs,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """The content of a `results.json`, with round numbers."""
    cost = {"parameters": 1_000_000, "macs": 5_000_000, "images_per_second": 200.0}
    return {
        "license": "apache-2.0",
        "configuration": {"data": {"dataset": "digits"}, "training": {"kd_weight": 2.0}},
        "versions": {"python": "3.11", "torch": "2.15.0"},
        "device": "cpu (2 cores)",
        "processes": 1,
        "seeds": [0, 1],
        "dataset": {
            "name": "digits",
            "hub_name": None,
            "split": "test",
            "part": "test",
            "num_public": 100,
            "num_private": 900,
            "num_evaluated": 450,
            "evaluated_on": "test",
            "num_labels": 10,
            "skipped_images": 0,
        },
        "teacher": {"name": "timm/resnet50", "from_scratch": False, "accuracy": 0.9, "cost": cost},
        "student": {
            "name": "timm/resnet18",
            "from_scratch": True,
            "accuracy": {"mean": 0.8, "std": 0.0},
            "cost": cost,
        },
        "arms": {
            "kd": _arm(None, [(0.8, 0.84, None), (0.8, 0.84, None)]),
            "exrep": _arm("light", [(0.8, 0.85, 0.41), (0.8, 0.85, 0.41)]),
        },
        "published": {
            "arm": "exrep",
            "seed": 0,
            "variant": "distiller",
            "accuracy": 0.85,
            "top5_accuracy": 1.0,
            "expected_calibration_error": 0.031,
            "bins": [{"count": 450, "confidence": 0.88, "accuracy": 0.85}],
            "per_class": {str(digit): {"accuracy": 0.8 + digit / 100, "count": 45} for digit in range(10)},
        },
        "command": "accelerate launch recipes/train.py --config recipes/digits.yaml",
        "wall_time_seconds": 12.0,
    }
