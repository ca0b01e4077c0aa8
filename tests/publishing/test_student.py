"""Fetching students under bad conditions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from exrep_hf.publishing.student import fetch_student
from tests.hub_server import Fault, Hub

ROOT = Path(__file__).parents[2]

SMALL_DISK = """
import os, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", os.environ["HF_HOME"]], check=True)
from exrep_hf.publishing.student import fetch_student
try:
    fetch_student("me/large")
except ValueError as error:
    print("refused:", error)
subprocess.run(["mount", "-o", "remount,size=64m", os.environ["HF_HOME"]], check=True)
print("size:", (fetch_student("me/large") / "model.safetensors").stat().st_size)
"""


def test_disk_full_while_downloading(hub: Hub, tmp_path: Path) -> None:
    """On a disk that is really full: an error that names the student, and success when there is room."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets users mount nothing")
    HfApi().create_repo("me/large")
    HfApi().upload_file(path_or_fileobj=os.urandom(3_000_000), path_in_repo="model.safetensors", repo_id="me/large")
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = ["unshare", "-Urm", sys.executable, "-c", SMALL_DISK]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, *_, size = done.stdout.splitlines()
    assert refused.startswith("refused: 'me/large' is no folder here") and size == "size: 3000000"
    assert "No space left on device" in done.stdout


def test_a_download_that_is_cut(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut once it goes on by itself."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    content = os.urandom(2_000_000)
    HfApi().create_repo("me/cut-download")
    HfApi().upload_file(path_or_fileobj=content, path_in_repo="model.safetensors", repo_id="me/cut-download")
    hub.faults.append(Fault(r"storage GET /lfs", 1, after=500_000))
    assert (fetch_student("me/cut-download") / "model.safetensors").read_bytes() == content
