"""Students are trained, and saved, in float32."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from exrep_hf import ExRepForImageClassification, OnlineTeacher
from exrep_hf.models import load_classifier
from exrep_hf.training.precision import weights_kept

MakeTrainer = Callable[..., Any]
SLOW = {"max_steps": 10, "learning_rate": 1e-5, "crd_weight": 0.0, "adversarial_weight": 0.0, "critic_weight": 0.0}


def given(kind: str, folder: Path, make_network: Callable[..., Any]) -> Any:
    """The same values, as a user may have them; `reference`: in float32 from the start."""
    half = make_network(seed=3).to(torch.bfloat16)
    if kind == "reference":
        return half.float()
    if kind == "model":
        return half
    if kind == "mixed":
        # As where a new head was put on a network in half precision.
        half.classifier.float()
        return half
    half.save_pretrained(folder)
    if kind == "path":
        return folder
    if kind == "student":
        return ExRepForImageClassification.from_backbone(str(folder))
    exrep: Any = ExRepForImageClassification.from_backbone(half.float())
    exrep.to(torch.bfloat16).save_pretrained(folder / "exrep")
    return ExRepForImageClassification.from_pretrained(folder / "exrep")


@pytest.mark.parametrize("kind", ["path", "student", "exrep", "model", "mixed"])
def test_half_precision_is_trained_as_float32_is(
    kind: str,
    make_trainer: MakeTrainer,
    make_network: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In bfloat16 most weights would not move at all: a step is smaller than the distance to the next number."""
    ends = []
    for each in (kind, "reference"):
        trainer = make_trainer(model=given(each, tmp_path / "half", make_network), **SLOW)
        start = copy.deepcopy(trainer.student.state_dict())
        capsys.readouterr()
        trainer.train()
        told = "the student's weights were bfloat16 and are float32 now, in the model that was passed"
        assert (told in capsys.readouterr().out) == (each in ("model", "mixed"))
        ends.append(trainer.student.state_dict())
    for name, value in ends[0].items():
        assert not value.is_floating_point() or value.dtype == torch.float32, name
        assert torch.equal(value, ends[1][name]), name
    moved = [(start[name] != value).float().mean() for name, value in ends[1].items() if name.endswith("weight")]
    assert torch.stack(moved).mean() > 0.95
    rounded = [
        (start[name].bfloat16() != value.bfloat16()).float().mean()
        for name, value in ends[1].items()
        if name.endswith("convolution.weight")
    ]
    assert torch.stack(rounded).mean() < 0.2, "the test needs steps that bfloat16 can't tell apart"


def test_saved_in_float32(make_trainer: MakeTrainer, make_network: Callable[..., Any], tmp_path: Path) -> None:
    """Whoever loads the student gets what was trained, and not its rounded values."""
    trainer = make_trainer(model=make_network(seed=3).half(), bf16=True, **SLOW)
    trainer.train()
    trainer.save_model(str(tmp_path / "student"))
    saved = load_file(tmp_path / "student" / "model.safetensors")
    assert {value.dtype for value in saved.values() if value.is_floating_point()} == {torch.float32}
    plain = trainer.student.without_distiller()
    plain.save_pretrained(tmp_path / "plain")
    assert load_classifier(tmp_path / "plain", dtype=None).dtype == torch.float32


def test_a_teacher_stays_as_it_is(make_network: Callable[..., Any], tmp_path: Path) -> None:
    """It is frozen, and half precision takes half the memory."""
    make_network(seed=1).to(torch.bfloat16).save_pretrained(tmp_path)
    teacher = OnlineTeacher.from_pretrained(tmp_path)
    assert next(teacher.model.parameters()).dtype == torch.bfloat16
    answer = teacher({"pixel_values": torch.zeros(1, 3, 16, 16)})
    assert answer.logits is not None and answer.logits.dtype == torch.float32


@pytest.mark.parametrize("when", ["before", "after"])
def test_evaluation_in_half_precision_rounds_no_weights(when: str, make_trainer: MakeTrainer) -> None:
    """The Trainer casts the very network that is trained next, or saved."""
    trainer = make_trainer(eval_dataset=make_trainer().train_dataset, bf16_full_eval=True, max_steps=2)
    if when == "after":
        trainer.train()
    before = copy.deepcopy(trainer.distillation_objective.state_dict())
    seen = []
    hook = trainer.student.register_forward_pre_hook(lambda module, inputs: seen.append(module.dtype))
    trainer.evaluate()
    hook.remove()
    assert set(seen) == {torch.bfloat16}
    after = trainer.distillation_objective.state_dict()
    for name, value in after.items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name]), name
    if when == "before":
        trainer.train()
        assert trainer.student.dtype == torch.float32


def test_nothing_is_kept_where_nothing_is_rounded(make_network: Callable[..., Any]) -> None:
    """What changes in an evaluation that casts nothing has changed on purpose."""
    network = make_network(seed=1)
    for wanted in (False, True):
        with weights_kept(network, wanted):
            network.classifier[-1].weight.data = torch.ones_like(network.classifier[-1].weight)
        assert bool((network.classifier[-1].weight == 1).all()) == (not wanted)
        network = make_network(seed=1)
