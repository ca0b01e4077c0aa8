"""The one test against the Hub itself: with a token of one's own in `EXREP_HF_HUB_TOKEN`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = os.environ.get("EXREP_HF_HUB_TOKEN")

THERE_AND_BACK = """
import os, sys
from pathlib import Path
from huggingface_hub import HfApi
from exrep_hf.publishing.student import push_student
from exrep_hf.publishing.verify import verify_card
name = HfApi().whoami()["name"] + "/exrep-hf-test-" + str(os.getpid())
push_student(Path("model_cards/digits_plain"), name, private=True)
try:
    verdicts = verify_card(name)
    assert len(verdicts) == 3 and all(verdict.holds for verdict in verdicts), verdicts
finally:
    HfApi().delete_repo(name)
"""


@pytest.mark.skipif(not TOKEN, reason="needs a token with write access in EXREP_HF_HUB_TOKEN")
def test_there_and_back(tmp_path: Path) -> None:
    """A private repository is made, filled, verified, and removed."""
    environment = {**os.environ, "HF_ENDPOINT": "https://huggingface.co", "HF_TOKEN": str(TOKEN)}
    environment |= {"HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", THERE_AND_BACK]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
