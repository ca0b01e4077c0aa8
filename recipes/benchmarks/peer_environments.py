"""The tools that are compared, and an environment for each."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
# What scripts and their plumbing need whatever the tool; versions are those of `constraints.txt`.
COMMON = ("torch", "torchvision", "transformers", "safetensors", "numpy", "pillow")


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes:
        name: in tables, flags and files.
        script: in `peers/`.
        methods: what of it is run, with what that is in words.
        requirements: what is installed, with versions; nothing of ours, which runs where this runs.
    """

    name: str
    script: str
    methods: dict[str, str]
    requirements: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return not self.requirements


_ALL = (
    Peer(
        "ours",
        "ours.py",
        {"exrep": "preset `exrep`: logits and features, mixed", "kd-mixed": "preset `kd-mixed`: logits, mixed"},
    ),
    Peer(
        "timm",
        "timm_task.py",
        {
            "logits": "`LogitDistillationTask`, with labels",
            "logits-mixed": "the same without labels (`task_loss_weight=0`), `Mixup` and CutMix",
            "features": "`FeatureDistillationTask`, with labels",
        },
        ("timm==1.0.31",),
    ),
    Peer(
        "torchdistill",
        "torchdistill_box.py",
        {"kd": "`KDLoss`, with labels", "kd-crd": "the same and `CRDLoss`"},
        ("torchdistill==1.1.5",),
    ),
    Peer(
        "lightly-train",
        "lightly_train_distillation.py",
        {
            "fine-tuned": "`distillationv3`, then its own fine-tuning",
            "probe": "`distillationv3`, then a linear probe on labels",
        },
        ("lightly-train==0.18.0", "scikit-learn"),
    ),
)
PEERS = {peer.name: peer for peer in _ALL}


def environment(peer: Peer, envs: Path, python: str | None = None) -> tuple[Path | None, str]:
    """Return the interpreter of a tool's own environment, which is made where it is not there.

    Args:
        peer: the tool.
        envs: where environments lie.
        python: an interpreter to take in place of it.

    Returns:
        The interpreter, or None and the last line of what the installer said.
    """
    if python is not None or peer.is_ours:
        return Path(python or sys.executable).absolute(), ""
    folder = envs / peer.name
    interpreter, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join((*peer.requirements, *COMMON))
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return interpreter, ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    options = ["--constraint", str(CONSTRAINTS), *peer.requirements, *COMMON]
    if shutil.which("uv"):
        steps = [["uv", "venv", "--quiet", "--python", sys.executable, str(folder)]]
        steps += [["uv", "pip", "install", "--quiet", "--python", str(interpreter), *options]]
    else:
        steps = [[sys.executable, "-m", "venv", str(folder)]]
        steps += [[str(interpreter), "-m", "pip", "install", "--quiet", *options]]
    print(f"{peer.name}: installing {', '.join(peer.requirements)}", flush=True)
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            return None, last_words(done.stderr or done.stdout)
    folder.mkdir(exist_ok=True)
    stamp.write_text(wanted, encoding="utf-8")
    return interpreter, ""


def last_words(output: str) -> str:
    """Return the last line that a program wrote, without hosts, and with paths by their last part."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "nothing"
    last = re.sub(r"\w+://\S+", "…", last)
    last = re.sub(r"(?<![\w.])/[^\s'\":,)]*/([^\s/'\":,)]*)", r"\1", last)
    return last if len(last) <= 300 else last[:299] + "…"
