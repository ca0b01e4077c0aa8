"""Two processes that are interrupted end as two that were not, whatever images they look at and whoever answers."""

from pathlib import Path

import torch

from tests.processes import Processes, finish

from .resumed_run import CASES


def test_two_processes(processes: Processes, tmp_path: Path) -> None:
    """To the bit: student, bank, critic, moments and every logged figure, on both processes."""
    finish(processes.start("tests.training.resumed_run", 2, str(tmp_path)))
    found = [torch.load(tmp_path / f"found-{rank}.pt", weights_only=True) for rank in range(2)]
    assert list(found[0]) == list(CASES) and len(CASES) == 6
    for case in CASES:
        for rank in range(2):
            whole, resumed = found[rank][case]
            assert resumed["history"] == whole["history"], (case, rank)
            assert [entry["step"] for entry in whole["history"] if "loss" in entry] == [3, 6, 9]
            assert resumed["state"].keys() == whole["state"].keys()
            assert ("crd_bank.bank.student" in whole["state"]) == ("mixing" not in case)
            assert whole["state"]["terms.own.steps"] == 9
            for name, value in whole["state"].items():
                assert torch.equal(resumed["state"][name], value), (case, rank, name)
            assert len(whole["moments"]) == len(resumed["moments"]) > 30
            assert all(map(torch.equal, whole["moments"], resumed["moments"])), (case, rank)
        for name, value in found[0][case][0]["state"].items():
            assert torch.equal(found[1][case][0]["state"][name], value), (case, name)
    students = [found[0][case][0]["state"]["student.classifier.classifier.1.weight"] for case in CASES]
    # Stored answers are those of the teacher; any other case sees other images.
    assert torch.equal(students[0], students[2]) and torch.equal(students[1], students[3])
    assert not any(torch.equal(students[0], students[other]) for other in (1, 4, 5))
