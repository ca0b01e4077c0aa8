"""A study has its folder to itself."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from exrep_hf.training.only_run import HOLDER_NAME, LOCK_NAME
from tests.processes import ROOT
from tests.studies import run_study

HOLD = """
import sys, time
from pathlib import Path
from exrep_hf.training.only_run import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(200)
"""


def test_a_second_study_in_a_folder(tmp_path: Path) -> None:
    """Both would write the same files in turn, whichever is resumed; the lock counts as nobody's file."""
    folder = tmp_path / "digits"
    started = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        began = time.monotonic()
        for changes in ({}, {"overwrite_output_dir": True}, {"resume_from_checkpoint": "true"}):
            with pytest.raises(ValueError, match=f"Another run is at work in '.*digits': process {first.pid}, since"):
                run_study(folder, controls={}, num_seeds=1, **changes)
        assert time.monotonic() - began < 20, "found after the work had begun"
        assert {path.name for path in folder.iterdir()} == {LOCK_NAME, HOLDER_NAME}
        first.kill()
    run_study(folder, controls={}, num_seeds=1)
    names = {path.name for path in folder.iterdir()}
    assert "results.json" in names and not names & {LOCK_NAME, HOLDER_NAME}
