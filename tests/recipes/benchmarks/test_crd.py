"""The benchmark of contrast: that it runs, and that both sides compute the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from exrep_hf.losses import CRDLoss

SCRIPT = Path(__file__).parents[3] / "recipes" / "benchmarks" / "crd.py"


@pytest.fixture
def crd(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import crd

    return crd


def test_both_sides_compute_the_same(crd: ModuleType) -> None:
    """A reference that computes less than we do, or something else, would make its time worth nothing."""
    torch.manual_seed(0)
    reference = crd.Reference(50, 8, width=6, dim=4)
    ours = CRDLoss(6, 6, 50, 4, 8, crd.TEMPERATURE, crd.MOMENTUM)
    for side in ("student", "teacher"):
        getattr(ours, f"{side}_embedding").load_state_dict(getattr(reference, f"{side}_embedding").state_dict())
        getattr(ours.bank, side).copy_(getattr(reference, side))
    for _ in range(3):
        features = torch.randn(3, 6), torch.randn(3, 6)
        rows, negatives = torch.tensor([4, 0, 7]), torch.randint(50, (3, 8))
        values = [
            loss(*features, rows, negatives) for loss in (reference, lambda *given: ours(*given[:3], None, given[3]))
        ]
        torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-5)
        for value in values:
            value.backward()
    for side in ("student", "teacher"):
        mine, theirs = (getattr(each, f"{side}_embedding").weight.grad for each in (ours, reference))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(getattr(ours.bank, side), getattr(reference, side))


def test_it_runs_and_writes(tmp_path: Path) -> None:
    """In a process of its own, as it forks before anything runs backward."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import crd\n"
        "for extra in (['--growth'], ['--pairs', '2']):\n"
        "    name = 'growth' if len(extra) == 1 else 'rows'\n"
        "    sys.argv[1:] = ['--device', 'cpu', '--smoke', '--output', f'{FOLDER}/{name}.json', *extra]\n"
        "    crd.main()\n"
    ).replace("{FOLDER}", str(tmp_path))
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT.parent)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["number"] for row in rows} == {4} and len(rows) == 11
    # Two pairs give no verdict, and a kernel for GPUs no figure here.
    assert all(row["verdict"] == ("not measured" if "Triton" in row["what"] else "unclear") for row in rows[:7])
    points = json.loads((tmp_path / "growth.json").read_text())["points"]
    assert [point["rows"] for point in points] == [100, 1000] * 3
    assert all(point["seconds"] > 0 and point["peak_bytes"] >= 0 for point in points)
