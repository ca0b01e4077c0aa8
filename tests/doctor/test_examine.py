"""Faults that were planted, each found; a healthy run without alarm."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exrep_hf import OnlineTeacher, Term
from exrep_hf.doctor import QUICK, as_json, as_text, examine, exit_code
from exrep_hf.doctor.memory import check_memory
from exrep_hf.doctor.patient import Patient
from exrep_hf.outputs import TeacherOutput
from exrep_hf.teacher import LinearProbe, ProbedTeacher
from tests.doctor.conftest import COUNT, Coloured, told, trained
from tests.training.conftest import CLASSES, PREPROCESSING, network

Make = Callable[..., Any]


def test_a_healthy_run(patient: Make, tmp_path: Path) -> None:
    """No alarm, scores as they are, a page to read, and nothing changed."""
    trainer = patient(crd_weight=0.8, adversarial_weight=0.1, mixup=0.0, cutmix=0.0, num_negatives=8)
    trainer.student.train()
    objective = trainer.distillation_objective
    tensors = objective.state_dict() | objective.auxiliary_state()
    before = {name: value.clone() for name, value in tensors.items()}
    modes = [module.training for module in objective.modules()]
    drawn = torch.default_generator.get_state()
    findings = examine(trainer)
    assert [finding for finding in findings if finding.level != "fine"] == []
    page = as_text(findings)
    assert "the teacher is right about 100.0% of 80 training images" in page
    assert "shares of the gradient on the student: kd " in page and " images/s" in page
    assert len(page.splitlines()) <= 25
    assert exit_code(findings) == 0 and not as_json(findings)["wasted"]
    now = objective.state_dict() | objective.auxiliary_state()
    assert now.keys() == before.keys()
    assert all(torch.equal(value.nan_to_num(), before[name].nan_to_num()) for name, value in now.items())
    assert all(weight.grad is None for weight in objective.parameters())
    assert [module.training for module in objective.modules()] == modes
    assert torch.equal(torch.default_generator.get_state(), drawn)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_goes_on_as_if_nobody_had_looked(patient: Make) -> None:
    """To the bit."""
    settings = {"max_steps": 2, "feature_weight": 1.0, "dataloader_drop_last": False, "disable_tqdm": True}
    trainers = [patient(**settings) for _ in range(2)]
    examine(trainers[1])
    for trainer in trainers:
        trainer.train()
    weights, others = (trainer.student.state_dict() for trainer in trainers)
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


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


def dead_features(trainer: Any) -> None:
    for module in trainer.teacher.networks()[0].modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def reordered_teacher(trainer: Any) -> None:
    layer = _last(trainer.teacher.networks()[0])
    order = torch.arange(CLASSES).roll(1)
    layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]


def ignorant_teacher(trainer: Any) -> None:
    _copy(network(8), trainer.teacher.networks()[0])


def ignorant_student(trainer: Any) -> None:
    _copy(network(9), trainer.student.classifier)


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def frozen_student(trainer: Any) -> None:
    trainer.student.requires_grad_(False)


def frozen_backbone(trainer: Any) -> None:
    trainer.student.requires_grad_(False)
    _last(trainer.student.classifier).requires_grad_(True)


def unfrozen_teacher(trainer: Any) -> None:
    trainer.teacher.networks()[0].requires_grad_(True)


def forgetful_teacher(trainer: Any) -> None:
    """Right about the half of the classes."""
    nn.init.constant_(_last(trainer.teacher.networks()[0]).bias[2:], -100.0)


@pytest.mark.parametrize(
    ("plant", "level", "what"),
    [
        (dead_student, "waste", "student's logits are zero"),
        (nan_student, "waste", "student's logits are not finite for 100%"),
        (equal_student, "waste", "student's logits are the same"),
        (nan_teacher, "waste", "teacher's logits are not finite"),
        (equal_teacher, "waste", "teacher's logits are the same"),
        (dead_features, "waste", "teacher's features are "),
        (reordered_teacher, "waste", "the teacher is right about 0.0% of 80 training images, and about 100.0% if"),
        (ignorant_teacher, "waste", "as good as guessing (25.0%)"),
        (ignorant_student, "warning", "as good as guessing (25.0%)"),
        (frozen_student, "waste", "no weight of the student is trained"),
        (frozen_backbone, "warning", "of the student's weights are trained"),
        (unfrozen_teacher, "warning", "the teacher asks for gradients"),
        (forgetful_teacher, "warning", "of 80 training images, the student about 100.0%"),
    ],
)
def test_planted_in_networks(plant: Callable[[Any], None], level: str, what: str, patient: Make) -> None:
    """Each is found, also by the short look."""
    trainer = patient(feature_weight=1.0)
    plant(trainer)
    findings = examine(trainer, checks=QUICK)
    assert what in told(findings, level) and exit_code(findings) == (level == "waste")


def test_heads_that_nobody_trained(patient: Make) -> None:
    """Without any label, by answers that are all but uniform."""
    trainer = patient(train_dataset=Coloured(labelled=False))
    for model in (trainer.student.classifier, trainer.teacher.networks()[0]):
        nn.init.normal_(_last(model).weight, std=1e-3)
        nn.init.zeros_(_last(model).bias)
    warned = told(examine(trainer, checks=QUICK), "warning")
    assert "the student's answers are all but uniform" in warned and "the teacher's answers are all but" in warned
    trainer.student.has_new_head = True
    assert "the student's" not in told(examine(trainer, teacher_is_ready=False, checks=QUICK), "warning")


def test_a_probe_that_knows_nothing(patient: Make) -> None:
    """It is told of what can be done: it has a probe already, and its head is not random."""
    source = OnlineTeacher(trained(1), PREPROCESSING.to_image_processor())
    weight, bias = torch.zeros(CLASSES, source.feature_dim or 0), torch.zeros(CLASSES)
    bias[0] = 1.0
    head = LinearProbe(weight, bias, 1.0, 0.5, 1.0, COUNT, 1, COUNT, CLASSES)
    teacher = ProbedTeacher(source, trained(2).config, head)
    wasted = told(examine(patient(teacher=teacher), checks=QUICK), "waste")
    assert "as good as guessing (25.0%), as training crops them: the probe" in wasted and "`--scale 0.5 1`" in wasted
    assert "--teacher_head" not in wasted and "random" not in wasted


def test_a_new_head_is_no_fault(patient: Make) -> None:
    """Nor is one that is zero, as timm makes some; numbers that are none still are."""
    trainer = patient()
    trainer.student.has_new_head = True
    dead_student(trainer)
    assert told(examine(trainer, checks=QUICK), "warning") + told(examine(trainer, checks=QUICK), "waste") == ""
    nan_student(trainer)
    assert "student's logits are not finite" in told(examine(trainer, checks=QUICK), "waste")


class InTrainingMode:
    """A source of a user's own, who forgot `eval()`."""

    id2label = fingerprint = views = None

    def __init__(self) -> None:
        inner = OnlineTeacher(trained(1), PREPROCESSING.to_image_processor())
        self.model = inner.model.train()
        self.num_labels, self.feature_dim, self.preprocessing = CLASSES, None, inner.preprocessing
        self.id2label = inner.id2label

    def networks(self) -> list[nn.Module]:
        return [self.model]

    def check_images(self, dataset: Any) -> None:
        pass

    def check_temperature(self, temperature: float) -> None:
        pass

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        return TeacherOutput(logits=self.model(batch["pixel_values"]).logits)


def test_a_teacher_in_training_mode(patient: Make) -> None:
    """Its BatchNorm takes the batch's statistics."""
    assert "answers in training mode" in told(examine(patient(teacher=InTrainingMode()), checks=QUICK), "warning")


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"learning_rate": 3.0}, "waste", "the learning rate is 3, too high for adamw"),
        ({"learning_rate": 1e-9}, "waste", "nothing would move"),
        ({"learning_rate": 0.09}, "warning", "for such a student and 128 images a step 0.003 would be chosen"),
        ({"learning_rate": 50.0, "optim": "sgd"}, "waste", "the learning rate is 50, too high for sgd"),
        ({"max_steps": 100}, "warning", "100 steps are few for mixed images, which pay from about 1500 on"),
        (
            {"max_steps": 3, "mixup": 0.0, "cutmix": 0.0, "per_device_train_batch_size": 8},
            "warning",
            "3 steps see 30% of the 80 training images",
        ),
        ({"warmup_steps": 1500}, "warning", "rises for 1500 steps, and there are 1500"),
        (
            {"save_strategy": "steps", "save_steps": 1, "max_steps": 10**12, "save_total_limit": 0},
            "waste",
            "are free",
        ),
    ],
)
def test_planted_in_settings(changes: dict[str, Any], level: str, what: str, patient: Make) -> None:
    """Each is found, and nothing else."""
    findings = examine(patient(**changes), checks=QUICK)
    assert what in told(findings, level)
    assert len([each for each in findings if each.level != "fine"]) == 1


def test_two_checkpoints_are_kept(patient: Make) -> None:
    """By default: as many as lie there at once are counted, one more while it is written."""
    every = {"save_strategy": "steps", "save_steps": 1, "max_steps": 10**12}
    assert told(examine(patient(**every), checks=QUICK), "waste") == ""


@pytest.mark.parametrize("queue", [None, 4096])
def test_a_bank_that_does_not_fit(queue: int | None, patient: Make) -> None:
    """Of a row an image, or of a queue."""
    settings = {"crd_weight": 0.8, "mixup": 0.0, "cutmix": 0.0, "num_negatives": 8, "queue_length": queue}
    run = Patient.of(patient(**settings), True, True)
    (found,) = check_memory(run, capacity=100_000)
    assert found.level == "waste" and "of it CRD's bank" in found.what
    assert ("--queue_length" in found.remedy) == (queue is not None)
    assert list(check_memory(run, capacity=10**12)) == []


class Nothing(nn.Module):
    """A term that is cut from the student."""

    needs = ()

    def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
        return student.logits.detach().square().mean()


class Cliff(Nothing):
    """A term whose value is finite, and whose gradient is not."""

    def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
        return (student.logits - student.logits.detach()).abs().sqrt().mean()


class Loud(Nothing):
    """A term that drowns the others."""

    def forward(self, student: Any, teacher: Any, batch: Any) -> Tensor:
        return 1e6 * student.logits.square().mean()


@pytest.mark.parametrize(
    ("term", "level", "what"),
    [
        (Nothing, "waste", "the gradient of the term `mine` is zero"),
        (Cliff, "waste", "the gradient of the term `mine` is not finite"),
        (Loud, "warning", "mine 100.0%: the other terms do next to nothing"),
    ],
)
def test_planted_in_terms(term: type[nn.Module], level: str, what: str, patient: Make) -> None:
    """By the gradient of each on the student, of one batch."""
    assert what in told(examine(patient(terms={"mine": Term(term(), weight=1.0)})), level)


def test_without_a_term_on_logits(patient: Make) -> None:
    """Features alone: one term has all of the gradient, which is no fault."""
    findings = examine(patient(kd_weight=0.0, feature_weight=1.0))
    assert told(findings, "waste") == "" and "next to nothing" not in told(findings, "warning")


def test_what_the_data_set_refuses(patient: Make) -> None:
    """A finding among others, instead of an error."""
    trainer = patient()

    class Broken(Coloured):
        def __getitem__(self, index: int) -> dict[str, Any]:
            if index > 40:
                raise ValueError(f"The file of row {index} is cut off.")
            return super().__getitem__(index)

    trainer.train_dataset.dataset = Broken()
    findings = examine(trainer)
    assert "is cut off" in told(findings, "waste") and exit_code(findings) == 1
