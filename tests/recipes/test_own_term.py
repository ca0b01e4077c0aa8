"""A researcher's own term, by the page's own lines: a study without touching the package."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.studies import SMALL

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "recipes" / "digits.yaml"
PAGE = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8").split("## A term of your own")[1].split("\n## ")[0]


def command(config: Path, *more: str) -> list[str]:
    """The page's command, with a smaller config."""
    (lines,) = re.findall(r"    accelerate launch (.*?)\n\n", PAGE, flags=re.DOTALL)
    words = shlex.split(lines.replace("\\\n", " "))
    assert words[:3] == ["recipes/train.py", "--config", "recipes/digits.yaml"]
    return [sys.executable, str(ROOT / words[0]), "--config", str(config), *words[3:], *more]


def run(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A researcher's folder: the page's module, and nothing of ours."""
    snippets = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (code,) = [snippet for snippet in snippets if "class RKDLoss" in snippet]
    (tmp_path / "my_losses.py").write_text(code)
    settings: dict[str, Any] = yaml.safe_load(DIGITS.read_text()) | SMALL | {"report_to": "none"}
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump({**settings, "num_seeds": 1}))
    return tmp_path


def test_study(folder: Path) -> None:
    """Arms, log, table and card; the term that an arm does without is not in it."""
    done = run(folder, command(folder / "digits.yaml"))
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "out" / "rkd" / "results.json").read_text())
    assert list(results["arms"]) == ["without", "dist", "rkd"]
    logged = {
        name: {key for entry in arm["runs"][0]["history"] for key in entry} for name, arm in results["arms"].items()
    }
    assert "loss_rkd" in logged["rkd"] and "loss_dist" not in logged["rkd"]
    assert "loss_dist" in logged["dist"] and "loss_rkd" not in logged["dist"]
    assert not {"loss_dist", "loss_rkd"} & logged["without"]
    assert re.search(r"^ *rkd .*\d", done.stdout, flags=re.MULTILINE)
    card = (folder / "out" / "rkd" / "README.md").read_text()
    assert "my_losses:RKDLoss" in card and str(folder) not in card
    # The command says how it was run; settings, which a run may be given, allow nothing.
    configuration = json.dumps(results["configuration"])
    assert "my_losses:RKDLoss" in configuration and "allow_code" not in configuration


def test_code_is_not_imported_unasked(folder: Path) -> None:
    """Neither by a command without the flag, nor by a config that allows itself to."""
    (folder / "my_losses.py").write_text("open('ran', 'w')\n")
    words = command(folder / "digits.yaml")
    done = run(folder, [word for word in words if word != "--allow_code"])
    assert done.returncode == 2 and "which is code that is not of exrep_hf" in done.stderr
    settings = yaml.safe_load((folder / "digits.yaml").read_text())
    (folder / "digits.yaml").write_text(yaml.safe_dump({**settings, "allow_code": True}))
    done = run(folder, [word for word in words if word != "--allow_code"])
    assert done.returncode == 2 and "expected it as a flag alone" in done.stderr
    assert not (folder / "ran").exists() and not (folder / "out").exists()
