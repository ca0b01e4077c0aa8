"""Components in the log: each by name, and together the total."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from exrep_hf.losses import AdversarialLoss, CRDLoss, KDLoss
from exrep_hf.outputs import TeacherOutput

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]
Logged = Callable[[Any, str], list[float]]

WEIGHTS = {"ce": 0.7, "kd": 1.3, "crd": 0.4, "adversarial": 0.3, "critic": 0.9}
ARGUMENTS = {f"{name}_weight": weight for name, weight in WEIGHTS.items()}


def weighted_sum(values: dict[str, float], prefix: str = "") -> float:
    return sum(weight * values[f"{prefix}loss_{name}"] for name, weight in WEIGHTS.items())


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulated", "window"),
    # 10 rows in batches of 2 are 5 batches, so every second or third step of an epoch has fewer than the others.
    [(12, 4, 1, 1), (12, 4, 1, 3), (12, 2, 2, 3), (10, 2, 2, 3), (10, 2, 4, 2)],
)
def test_components_add_up_to_the_loss(
    rows: int, batch_size: int, accumulated: int, window: int, make_trainer: MakeTrainer, make_rows: MakeRows
) -> None:
    """Components that are averaged otherwise than the total tell a wrong story of what is learned."""
    trainer = make_trainer(
        train_dataset=make_rows(rows),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulated,
        logging_steps=window,
        max_steps=6,
        **ARGUMENTS,
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 6 // window
    for entry in logs:
        assert weighted_sum(entry) == pytest.approx(entry["loss"], rel=1e-5)


def test_window_holds_the_mean_of_its_steps(make_trainer: MakeTrainer, logged: Logged) -> None:
    """The last step's value alone is noise; a mean since the start hides what happens."""
    single = make_trainer(max_steps=6)
    single.train()
    windows = make_trainer(max_steps=6, logging_steps=3)
    windows.train()
    for name in ("loss", "loss_ce", "loss_kd", "loss_crd", "loss_adversarial", "loss_critic"):
        steps = torch.tensor(logged(single, name))
        torch.testing.assert_close(torch.tensor(logged(windows, name)), steps.reshape(2, 3).mean(1))


def test_window_starts_empty_in_a_second_run(make_trainer: MakeTrainer) -> None:
    """Steps after the last log of one run must not count in the next one's first."""
    trainer = make_trainer(max_steps=3, logging_steps=2, **ARGUMENTS)
    trainer.train()
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert weighted_sum(entry) == pytest.approx(entry["loss"], rel=1e-5)


def test_components_of_evaluation_add_up_to_the_loss(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """The same in evaluation, where the last batch is smaller than the others."""
    trainer = make_trainer(eval_dataset=make_rows(10), **ARGUMENTS)
    metrics = trainer.evaluate()
    assert weighted_sum(metrics, "eval_") == pytest.approx(metrics["eval_loss"], rel=1e-5)
    assert trainer.state.log_history[-1]["eval_loss_crd"] == metrics["eval_loss_crd"]


TERMS = {"ce": (), "kd": (KDLoss,), "crd": (CRDLoss,), "adversarial": (AdversarialLoss,)}


@pytest.mark.parametrize("active", list(TERMS))
def test_weight_of_0_skips_the_work(active: str, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A term of weight 0 that is computed all the same costs a teacher's forward, or a bank, for nothing."""
    weights = {f"{name}_weight": float(name == active) for name in ("ce", "kd", "crd", "adversarial")}
    trainer = make_trainer(max_steps=2, **weights)
    asked = []
    trainer.teacher.model.register_forward_hook(lambda *args: asked.append(1))
    widths = []
    forward = type(trainer.student).forward

    def note(self: Any, *args: Any, **kwargs: Any) -> Any:
        widths.append(kwargs["output_features"])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(trainer.student), "forward", note)
    trainer.train()
    terms = trainer.distillation_objective.terms
    assert list(terms) == [active]
    assert tuple(type(term.loss) for term in terms.values() if hasattr(term, "loss")) == TERMS[active]
    assert len(asked) == (0 if active == "ce" else 2)
    assert set(widths) == {active in ("crd", "adversarial")}
    names = {name for entry in trainer.state.log_history for name in entry if name.startswith("loss_")}
    assert names == ({"loss_adversarial", "loss_critic"} if active == "adversarial" else {f"loss_{active}"})


def test_no_cross_entropy_with_weight_0(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Without the label term, images without labels are enough."""
    rows = make_rows(12, without=("labels",))
    trainer = make_trainer(train_dataset=rows, ce_weight=0.0)
    trainer.train()
    assert trainer.state.global_step == 4


def test_seed_decides_everything(make_trainer: MakeTrainer, make_student: Callable[[], Any], logged: Logged) -> None:
    """Embeddings and critic are made by the trainer, so its seed must decide their weights too."""
    losses: list[list[list[float]]] = []
    for seed in (1, 1, 2):
        student = make_student()
        torch.manual_seed(100 + len(losses))
        trainer = make_trainer(model=student, seed=seed)
        trainer.train()
        losses.append([logged(trainer, name) for name in ("loss", "loss_crd", "loss_critic")])
    assert losses[0] == losses[1]
    assert all(same != other for same, other in zip(losses[1], losses[2], strict=True))


def test_training_without_a_teacher(make_trainer: MakeTrainer) -> None:
    """The label-only control needs no teacher at all."""
    trainer = make_trainer(teacher=None, kd_weight=0.0, crd_weight=0.0, adversarial_weight=0.0)
    trainer.train()
    assert trainer.teacher is None
    assert trainer.ask_teacher({}, training=True) == TeacherOutput()
    with pytest.raises(ValueError, match="No teacher was given.*Pass `teacher=`"):
        make_trainer(teacher=None)


def test_components_are_not_kept_with_their_graphs(make_trainer: MakeTrainer) -> None:
    """A logged tensor with its graph keeps every step of the window in memory."""
    trainer = make_trainer(logging_steps=100, max_steps=2)
    trainer.train()
    assert trainer._train_meters
    assert all(not meter.avg.requires_grad for meter in trainer._train_meters.values())
    assert isinstance(trainer.model, nn.Module)
