"""Faults that were planted, each found; a healthy run without alarm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from exrep_hf import DistillationArguments, DistillationTrainer, OnlineTeacher
from exrep_hf.doctor import Finding, as_json, as_text, examine, exit_code
from tests.training.conftest import CLASSES, PREPROCESSING, TensorRows, network


class Rows(TensorRows):
    """Labelled as a network of seed 1 would, so that it is right about all."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        with torch.no_grad():
            self.labels = network(1)(self.images).logits.argmax(-1).tolist()

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"labels": self.labels[index]}


def make(folder: Path, teacher: nn.Module | None = None, student: nn.Module | None = None, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "max_steps": 1500,
        "save_strategy": "no",
        "use_cpu": True,
        "report_to": "none",
    } | changes
    source = OnlineTeacher(teacher or network(1), PREPROCESSING.to_image_processor())
    args = DistillationArguments(output_dir=str(folder), **settings)
    return DistillationTrainer(student or network(2), teacher=source, args=args, train_dataset=Rows(60))


def waste(findings: list[Finding]) -> str:
    return "\n".join(finding.what for finding in findings if finding.level == "waste")


def test_a_healthy_run(tmp_path: Path) -> None:
    """No alarm, the teacher's score as it is, and nothing changed."""
    trainer = make(tmp_path / "out")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    findings = examine(trainer)
    assert [finding for finding in findings if finding.level != "fine"] == []
    assert "the teacher is right about 100.0% of" in as_text(findings)
    assert exit_code(findings) == 0 and not as_json(findings)["wasted"]
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert list((tmp_path / "out").iterdir()) == []


def _last(model: Any) -> nn.Linear:
    return model.classifier[-1]


def dead_student(trainer: Any) -> None:
    nn.init.zeros_(_last(trainer.student.classifier).weight)
    nn.init.zeros_(_last(trainer.student.classifier).bias)


def nan_student(trainer: Any) -> None:
    nn.init.constant_(_last(trainer.student.classifier).weight, float("nan"))


def equal_student(trainer: Any) -> None:
    nn.init.zeros_(_last(trainer.student.classifier).weight)
    nn.init.ones_(_last(trainer.student.classifier).bias)


def nan_teacher(trainer: Any) -> None:
    nn.init.constant_(_last(trainer.teacher.networks()[0]).weight, float("inf"))


def equal_teacher(trainer: Any) -> None:
    nn.init.zeros_(_last(trainer.teacher.networks()[0]).weight)


def reordered_teacher(trainer: Any) -> None:
    layer = _last(trainer.teacher.networks()[0])
    order = torch.arange(CLASSES).roll(1)
    layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]


def frozen_student(trainer: Any) -> None:
    trainer.student.requires_grad_(False)


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (dead_student, "student's logits are zero"),
        (nan_student, "student's logits are not finite for 100%"),
        (equal_student, "student's logits are the same"),
        (nan_teacher, "teacher's logits are not finite"),
        (equal_teacher, "teacher's logits are the same"),
        (reordered_teacher, "as good as guessing (25.0%)"),
        (frozen_student, "no weight of the student is trained"),
    ],
)
def test_planted_in_networks(plant: Callable[[Any], None], told: str, tmp_path: Path) -> None:
    """Each would waste the run."""
    trainer = make(tmp_path)
    plant(trainer)
    findings = examine(trainer)
    assert told in waste(findings) and exit_code(findings) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 3.0}, "the learning rate is 3, too high"),
        ({"learning_rate": 1e-9}, "nothing would move"),
        ({"save_strategy": "steps", "save_steps": 1, "max_steps": 10**12}, "are free"),
    ],
)
def test_planted_in_settings(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    """Each would waste the run."""
    assert told in waste(examine(make(tmp_path, **changes)))


def test_few_steps(tmp_path: Path) -> None:
    """A warning: such a run may be a trial."""
    findings = examine(make(tmp_path, max_steps=100))
    assert [each.what for each in findings if each.level == "warning"] == [
        "100 steps are few for mixed images, which pay from about 1500 on"
    ]
