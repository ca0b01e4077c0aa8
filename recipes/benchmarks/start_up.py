"""What an import costs, and a look at the flags.

    python recipes/benchmarks/start_up.py

First row: in fresh processes, the CPU seconds of `from exrep_hf import *` on top of transformers, timm and the
Trainer, which it needs (all its names: by itself `import exrep_hf` puts most of them off). Second row: those of a
process with `recipes/train.py --help` less those of one with `from transformers import TrainingArguments`, in turns;
its target is in seconds. CPU seconds because other users of a machine slow imports down by any factor.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from paired import Ratio, Row, parser, report

RECIPE = Path(__file__).parents[1] / "train.py"
IMPORTS = """
import time
import timm, transformers
from transformers import Trainer
before = time.process_time()
from exrep_hf import *
print(time.process_time() / before)
"""
SETTINGS = "from transformers import TrainingArguments"


def run(command: Sequence[str], bytecode: str) -> tuple[str, float]:
    """Run a fresh Python, and return the last line that it prints, and its CPU seconds."""
    # Compiled once, as for any user; by default a container may write no bytecode at all.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return (done.stdout.splitlines() or [""])[-1], seconds


def measured(pairs: int, bytecode: str) -> list[Row]:
    """Start processes; the first of each kind is not counted."""
    ratios = [float(run(["-c", IMPORTS], bytecode)[0]) for _ in range(pairs + 1)][1:]
    differences = []
    for _ in range(pairs + 1):
        flags, settings = (run(command, bytecode)[1] for command in ([str(RECIPE), "--help"], ["-c", SETTINGS]))
        differences.append(flags - settings)
    more = statistics.median(differences[1:])
    return [
        Row(9, "import of all of exrep_hf over transformers, timm and the Trainer", Ratio.of(ratios), 1.05),
        Row(9, "seconds of `train.py --help` more than importing TrainingArguments", more, 1.0),
    ]


def main(argv: list[str]) -> None:
    """Measure both."""
    args = parser(__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as bytecode:
        report(measured(args.pairs, bytecode), "start_up", args)


if __name__ == "__main__":
    main(sys.argv[1:])
