"""Two processes that would train different things."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from exrep_hf.training.agreement import _difference, weights_facts
from tests.processes import Processes, finish

from .other_run import CASES

HASH = "[0-9a-f]{16}"
EXPECTED = {
    "seed": "seed is 42 on process 0, 5 on process 1",
    "kd_weight": "`kd_weight` is 1.0 on process 0, 0.5 on process 1",
    "learning_rate": "`learning_rate` is 0.01 on process 0, 0.5 on process 1",
    "save_steps": "`save_steps` is 500 on process 0, 3 on process 1",
    "max_steps": "`max_steps` is 2 on process 0, 3 on process 1",
    "data_seed": "`data_seed` is None on process 0, 7 on process 1",
    "images": f"content of images is {HASH} on process 0, {HASH} on process 1; .*training images is 24 .* 25 on",
    "order": f"content of images is {HASH} on process 0, {HASH} on process 1",
    "classes": f"content of images is {HASH} on process 0, {HASH} on process 1",
    "teacher": f"teacher is {HASH} on process 0, {HASH} on process 1",
    "student": f"weights of the student is {HASH} on process 0, {HASH} on process 1",
    "critic": f"weights beside the student is {HASH} on process 0, {HASH} on process 1",
    "frozen": f"trained parameters is {HASH} on process 0, {HASH} on process 1",
    "evaluation": "evaluation images is 5 on process 0, 6 on process 1",
    "two at once": "`momentum` is 0.5 on process 0, 0.9 on process 1; `temperature` is 4.0 on process 0, 2.0 on",
}


def test_two_processes(processes: Processes, tmp_path: Path) -> None:
    """DDP takes the first one's weights, and averages over whatever the others look at; nothing says so."""
    finish(processes.start("tests.training.other_run", 2, str(tmp_path)))
    said = [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in range(2)]
    assert said[0] == said[1] and list(said[0]) == list(CASES)
    assert said[0].pop("same") == ""
    assert said[0].keys() == EXPECTED.keys()
    for case, message in said[0].items():
        assert message.startswith("The processes would train different things: "), case
        with pytest.raises(ValueError, match=EXPECTED[case]):
            raise ValueError(message)
    for case in ("kd_weight", "teacher", "student"):
        assert said[0][case].count(" on process 1") == 1, said[0][case]


def test_many_processes_are_named_shortly() -> None:
    assert _difference("seed", [1] * 64) is None
    told = _difference("seed", [1, 2] + [1] * 62)
    assert told == "seed is 1 on processes 0, 2, 3, 4 and 59 more, 2 on process 1"


def test_every_bit_of_the_weights_counts() -> None:
    """In half precision, of scalars, and in what a module keeps beside its parameters."""
    module = nn.Sequential(nn.Linear(300, 9), nn.BatchNorm1d(9)).to(torch.bfloat16)
    state = module.state_dict() | {"1.bank": torch.ones(3, 4, dtype=torch.int64)}
    before = weights_facts(module, state, "0.")
    for name, part in (
        ("0.weight", "of"),
        ("0.bias", "of"),
        ("1.num_batches_tracked", "beside"),
        ("1.bank", "beside"),
    ):
        changed = {key: value.clone() for key, value in state.items()}
        changed[name].view(-1)[-1] += 1
        after = weights_facts(module, changed, "0.")
        assert {key for key in before if before[key] != after[key]} == {f"weights_{part}_the_student"}
    module[0].bias.requires_grad_(False)
    assert weights_facts(module, state, "0.")["trained_parameters"] != before["trained_parameters"]
    assert weights_facts(nn.Linear(2, 2, device="meta"), {}, "") == {}
