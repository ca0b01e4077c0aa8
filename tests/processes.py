"""Real processes for tests, alone or in a group that trains together."""

import importlib
import multiprocessing
import os
import socket
from multiprocessing.process import BaseProcess
from typing import Any

import torch


def _run(module: str, rank: int, count: int, port: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    if count > 1:
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "RANK": rank}
        os.environ |= {name: str(value) for name, value in (group | {"LOCAL_RANK": rank}).items()}
    importlib.import_module(module).run(rank, *args)


class Processes:
    """Starts processes from a server that has imported the package, so that a start takes little time."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["exrep_hf", "tests.processes"])
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

    def kill(self) -> None:
        """Leave none behind."""
        for process in self.running:
            process.kill()


def finish(processes: list[BaseProcess]) -> None:
    """Wait for processes that have to end well."""
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
