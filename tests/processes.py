"""Real processes for tests, alone or in a group that trains together."""

import importlib
import io
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def _run(module: str, rank: int, count: int, port: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    if count > 1:
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "RANK": rank}
        os.environ |= {name: str(value) for name, value in (group | {"LOCAL_RANK": rank}).items()}
    importlib.import_module(module).run(rank, *args)


def _run_script(script: str, flags: tuple[str, ...], output: str) -> None:
    torch.set_num_threads(1)
    for number, name in ((1, "stdout"), (2, "stderr")):
        written = os.open(f"{output}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(written, number)
        setattr(sys, name, io.TextIOWrapper(os.fdopen(number, "wb", closefd=False), line_buffering=True))
    os.chdir(ROOT)
    sys.argv = [script, *flags]
    sys.path.insert(0, str((ROOT / script).parent))
    runpy.run_path(script, run_name="__main__")


class Processes:
    """Starts processes from a server that has imported the package, so that a start takes little time."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        # The modules that are started often too, as they need more of transformers than the package itself does.
        often = ["tests.training.killed_run", "tests.teacher.cache.killed_writer"]
        self.context.set_forkserver_preload(["exrep_hf", "exrep_hf.study", "tests.processes", *often])
        self.running: list[BaseProcess] = []

    def start(self, module: str, count: int, *args: Any) -> list[BaseProcess]:
        """Call a module's `run(rank, *args)` in several processes that know of each other."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started: list[BaseProcess] = [
            self.context.Process(target=_run, args=(module, rank, count, port, args)) for rank in range(count)
        ]
        for process in started:
            process.start()
        self.running.extend(started)
        return started

    def call(self, script: str, *flags: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a script of the repository as `python SCRIPT FLAGS` does, but for the imports of the package."""
        with tempfile.TemporaryDirectory() as output:
            process = self.context.Process(target=_run_script, args=(script, flags, output))
            self.running.append(process)
            process.start()
            process.join(timeout)
            assert process.exitcode is not None, f"{script} has not ended after {timeout} seconds"
            said = [Path(output, name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([script, *flags], process.exitcode, *said)

    def kill(self) -> None:
        """Leave none behind."""
        for process in self.running:
            process.kill()


def finish(processes: list[BaseProcess]) -> None:
    """Wait for processes that have to end well."""
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
