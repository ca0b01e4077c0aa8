"""What is given to the script of each tool, and what it hands back: nothing of the tools themselves.

It runs in the environment of a tool, where `exrep_hf` need not be: torch, numpy and safetensors have to do.
"""

import contextlib
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FACTS_NAME = "facts.json"
WEIGHTS_NAME = "weights.safetensors"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Task:
    """What every tool is asked for.

    Attributes:
        method: of the tool.
        images: folder with the public images, in a sub-folder a class, named `0` to `9`.
        teacher: folder of a classifier of transformers.
        student: folder of another, from whose weights training starts.
        output: folder for what comes out, and for what the tool writes.
        seed: of crops, mixtures and order.
        steps: of training.
    """

    method: str
    images: str
    teacher: str
    student: str
    output: str
    seed: int
    steps: int

    @classmethod
    def given(cls) -> "Task":
        """Read the task from the only argument of the command line, and set all seeds."""
        task = cls(**json.loads(sys.argv[1]))
        random.seed(task.seed)
        np.random.seed(task.seed)
        torch.manual_seed(task.seed)
        return task


class Stopwatch:
    """Seconds that a part of a script took.

    Attributes:
        seconds: by the clock; 0 where nothing has been timed.
        cpu_seconds: of this process on CPU cores, which what else runs on a machine hardly changes.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Time what is within."""
        began, began_cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds, self.cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu


def hand_in(task: Task, student: nn.Module, package: str, watch: Stopwatch) -> None:
    """Write the trained student, and what is to be known about its training.

    Args:
        task: what was asked for.
        student: the trained network, of the architecture that was given.
        package: the tool's name in package registries.
        watch: what timed the training.
    """
    output = Path(task.output)
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in student.state_dict().items()}
    save_file(weights, output / WEIGHTS_NAME)
    facts: dict[str, Any] = {"version": version(package), "torch": torch.__version__, **vars(watch)}
    (output / FACTS_NAME).write_text(json.dumps(facts), encoding="utf-8")
