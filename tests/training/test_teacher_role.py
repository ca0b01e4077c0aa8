"""The teacher beside the trained module: never trained, never saved, never changed."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import TeacherSource
from tests.training.conftest import PREPROCESSING, TensorRows

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]


def test_teacher_never_changes(
    make_trainer: MakeTrainer, make_rows: MakeRows, teacher: OnlineTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training mode a teacher's BatchNorm drifts and its answers depend on the batch; peers shipped that."""
    before = copy.deepcopy(teacher.model.state_dict())
    trainer = make_trainer(eval_dataset=make_rows(4), eval_strategy="steps", eval_steps=2)
    answers, modes = [], []
    ask = trainer.ask_teacher

    def meddle(batch: dict[str, Tensor], training: bool) -> TeacherOutput:
        trainer.model.train(training)
        teacher.model.train()
        teacher.model.requires_grad_(True)
        answer = ask(batch, training)
        modes.append({module.training for module in teacher.model.modules()})
        answers.append(answer)
        return answer

    monkeypatch.setattr(trainer, "ask_teacher", meddle)
    trainer.train()
    assert len(answers) == 6
    assert modes == [{False}] * 6
    assert not any(answer.logits.requires_grad or answer.features.requires_grad for answer in answers)
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_teacher_is_no_part_of_the_trained_module(make_trainer: MakeTrainer, teacher: OnlineTeacher) -> None:
    """What hangs below the trained module is sharded, optimised, moved and saved with it."""
    trainer = make_trainer()
    trained = {id(module) for module in trainer.model.modules()}
    assert trained.isdisjoint(id(module) for module in teacher.model.modules())
    trainer.create_optimizer()
    optimised = {id(each) for group in trainer.optimizer.param_groups for each in group["params"]}
    assert optimised == {id(parameter) for parameter in trainer.model.parameters()}
    assert optimised.isdisjoint(id(parameter) for parameter in teacher.model.parameters())


def timm_teacher() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet", num_classes=4)


def wrapped_timm() -> TimmWrapperForImageClassification:
    config = TimmWrapperConfig.from_dict({"architecture": "test_resnet", "num_classes": 4, "model_args": {}})
    return TimmWrapperForImageClassification(config)


NAMELESS = ("timm", "timm wrapper", "source")


class WithTeacherPixels(TensorRows):
    """timm's networks want another normalisation than the student."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return item | {"teacher_pixel_values": item["pixel_values"] * 0.25 + 0.5}


@pytest.mark.parametrize("kind", ["timm", "timm wrapper", "transformers", "folder", "path", "source"])
def test_kinds_of_teachers(
    kind: str, make_trainer: MakeTrainer, make_network: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Each kind of teacher that is promised must train, by features as well as by logits."""
    make_network(seed=1).save_pretrained(tmp_path / "teacher")
    given: Any = {
        "timm": timm_teacher,
        "timm wrapper": wrapped_timm,
        "transformers": lambda: make_network(seed=1),
        "folder": lambda: str(tmp_path / "teacher"),
        "path": lambda: tmp_path / "teacher",
        "source": Constant,
    }[kind]()
    classes = "position" if kind in NAMELESS else "names"
    trainer = make_trainer(teacher=given, train_dataset=WithTeacherPixels(12), max_steps=2, classes=classes)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(0 <= entry[name] < 1e3 for entry in logs for name in ("loss_kd", "loss_crd", "loss_critic"))


class Constant(TeacherSource):
    """Anything that is made from the protocol is a teacher."""

    num_labels, feature_dim, preprocessing = 4, 5, ()

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        return TeacherOutput(
            logits=torch.arange(4.0).expand(len(batch["pixel_values"]), 4), features=batch["pixel_values"][:, 0, 0, :5]
        )


@pytest.mark.parametrize("kind", ["TimmWrapper", "transformers"])
def test_plain_classifiers_as_students(
    kind: str, make_args: Any, make_network: Any, make_rows: MakeRows, teacher: OnlineTeacher
) -> None:
    """A user's own classifier is a student without a distiller."""
    model = wrapped_timm() if kind == "TimmWrapper" else make_network(seed=3)
    processor = PREPROCESSING.to_image_processor()
    trainer = DistillationTrainer(model, teacher, make_args(max_steps=2), make_rows(12), processing_class=processor)
    trainer.train()
    assert trainer.student.classifier is model and trainer.student.config.distiller is None


def test_wrong_teachers(
    make_trainer: MakeTrainer, make_network: Any, make_student: Callable[[], Any], tmp_path: Path
) -> None:
    """Each of these trains, if at all, towards nonsense."""
    with pytest.raises(ValueError, match="The student has 1 of 4 classes that the teacher does not know: '3'"):
        make_trainer(teacher=make_network(seed=1, num_labels=3), ce_weight=0.0)
    with pytest.raises(ValueError, match="`teacher` is a dict; expected a network of transformers or timm"):
        make_trainer(teacher={})
    with pytest.raises(ValueError, match="could not be loaded from '.*nowhere'"):
        make_trainer(teacher=tmp_path / "nowhere")
    student = make_student()
    for teacher in (student, student.classifier):
        with pytest.raises(ValueError, match="the same network, or share weights; expected two.*copy.deepcopy"):
            make_trainer(model=student, teacher=teacher)
