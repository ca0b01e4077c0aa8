"""A teacher that knows some of the student's classes alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exrep_hf import CachedTeacher, OnlineTeacher
from exrep_hf.data import ViewPolicy
from exrep_hf.data.mixing import Mixing
from exrep_hf.teacher import TeacherEnsemble
from exrep_hf.training.objective import DistillationObjective
from tests.training.test_classes import LOGITS, NAMES, PROCESSOR, SHADES, ByShade, named, shades

assert named  # a fixture
MakeTrainer = Callable[..., Any]
# Of ant, bee, cat and dog it has the last, the second and the first.
KNOWN = ["dog", "elk", "Bee", "ant"]
SHARED, COLUMNS = [0, 1, 3], [3, 2, 0]


def kd(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """The definition, class by class."""
    total = 0.0
    for own, their in zip((student / temperature).double(), (teacher / temperature).double(), strict=True):
        p, q = their.exp() / their.exp().sum(), own.exp() / own.exp().sum()
        total += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def test_the_term_compares_shared_classes_alone(make_student: Any, make_args: Any) -> None:
    """Both are renormalised; what is not shared gets its gradient from labels alone."""
    objective = DistillationObjective(
        make_student(), make_args(**LOGITS, feature_weight=0.0), shared_classes=SHARED
    ).eval()
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([2, 0, 1, 2])
    answer = torch.randn(4, 3)
    output = objective(images, labels=labels, teacher_logits=answer)
    student = objective.student(images).logits.detach()
    temperature = objective.args.temperature
    assert output.losses["loss_kd"].item() == pytest.approx(kd(student[:, SHARED], answer, temperature), rel=1e-5)
    smoothing = objective.args.label_smoothing_factor
    expected = torch.nn.functional.cross_entropy(student, labels, label_smoothing=smoothing)
    assert output.losses["loss_ce"].item() == pytest.approx(expected.item(), rel=1e-5)
    head = objective.student.classifier.classifier[-1]
    output.losses["loss_kd"].backward()
    assert not head.weight.grad[2].any() and head.weight.grad[SHARED].abs().sum(1).all()
    assert not any("shared" in name for name in [*objective.state_dict(), *objective.auxiliary_state()])


@pytest.mark.parametrize("mixing", [{}, {"mixup": 1.0, "cutmix": 1.0}])
def test_training_and_evaluation(
    make_trainer: MakeTrainer, named: Any, capsys: Any, logged: Any, mixing: dict[str, float]
) -> None:
    images = shades(NAMES, 48)
    teacher = ByShade(named(KNOWN), PROCESSOR)
    given = {"train_dataset": images, "eval_dataset": images.select(range(6)), "max_steps": 2}
    SHADES.update(elk=250)
    trainer = make_trainer(model=named(NAMES, 3), teacher=teacher, **given, **LOGITS, **mixing)
    assert trainer.classes.student_columns == (0, 1, 3) and trainer.classes.teacher_columns == (3, 2, 0)
    batch = trainer._prepare_inputs(next(iter(trainer.get_eval_dataloader())))
    answer, student = teacher(batch).logits[:, COLUMNS], trainer.student.eval()(batch["pixel_values"]).logits.detach()
    metrics = trainer.evaluate(images.select(range(4)))
    assert metrics["eval_loss_kd"] == pytest.approx(kd(student[:, SHARED], answer, 4.0), rel=1e-4)
    agrees = (student[:, SHARED].argmax(-1) == answer.argmax(-1)).float().mean().item()
    assert metrics["eval_teacher_agreement"] == pytest.approx(agrees)
    trainer.train()
    told = capsys.readouterr().out
    assert "the teacher knows 3 of the student's 4 classes, and not 'cat'" in told and "from labels alone" in told
    # Cats are not asked about, and the places of the others are.
    assert "is right about 100.0% of 30 training images of 3 classes" in told
    assert len(logged(trainer, "loss_kd")) == 2 and trainer.state.global_step == 2


def test_mixtures_are_looked_at_by_their_shared_part(make_trainer: MakeTrainer, named: Any) -> None:
    teacher = ByShade(named(KNOWN), PROCESSOR)
    trainer = make_trainer(model=named(NAMES, 3), teacher=teacher, train_dataset=shades(NAMES, 48), **LOGITS)
    shares = torch.tensor([[0.1, 0.0, 0.6, 0.3]])
    assert torch.equal(trainer.classes.shared_by_student(shares), torch.tensor([[0.1, 0.0, 0.3]]))
    assert trainer.classes.shared_numbers(torch.tensor([0, 1, 2, 3, -1, 3])).tolist() == [0, 1, -1, 2, -1, 2]


def test_without_labels_it_is_refused(make_trainer: MakeTrainer, named: Any) -> None:
    """Nothing would teach the class: the remedy is named. Too few classes are too few with labels too."""
    given = {"model": named(NAMES, 3), "train_dataset": shades(NAMES, 8)} | LOGITS
    teacher = OnlineTeacher(named(KNOWN), PROCESSOR)
    with pytest.raises(ValueError, match="1 of 4 classes that the teacher does not know: 'cat'.*`ce_weight=1`"):
        make_trainer(teacher=teacher, ce_weight=0.0, **given)
    few = OnlineTeacher(named(["ant", "cats", "cow"]), PROCESSOR)
    for ce_weight in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"3 of 4 classes .*'cat' \(nearest: 'cats'\)") as caught:
            make_trainer(teacher=few, ce_weight=ce_weight, **given)
        assert "ce_weight" not in str(caught.value)
    # One that no labels teach either is left out of both.
    assert make_trainer(teacher=few, kd_weight=0.0, **given).classes.has_teacher is False


def test_stored_answers_and_ensembles(make_trainer: MakeTrainer, named: Any, tmp_path: Path) -> None:
    """They have the columns of the network, mixtures included."""
    images = shades(NAMES, 12)
    network = OnlineTeacher(named(KNOWN), PROCESSOR)
    views = ViewPolicy(2, mixing=Mixing(1.0, 1.0))
    stored = CachedTeacher.write(network, images, tmp_path / "stored", views)
    ensemble = TeacherEnsemble([network, OnlineTeacher(named([*reversed(KNOWN)], 5), PROCESSOR)])
    given = {"train_dataset": images, "max_steps": 1, "mixup": 1.0, "cutmix": 1.0, "augmentation": None} | LOGITS
    trainer = make_trainer(model=named(NAMES, 3), teacher=stored, **given)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    answer = trainer.ask_teacher(batch, training=True).logits
    asked = network({"pixel_values": batch["pixel_values"]}).logits
    assert asked is not None
    torch.testing.assert_close(answer, asked[:, COLUMNS], rtol=1e-3, atol=1e-3)
    assert batch["labels"].shape == (4, 4)
    trainer.train()
    both = make_trainer(model=named(NAMES, 3), teacher=ensemble, **given)
    assert both.classes.teacher_columns == (3, 2, 0)
    both.train()
    assert both.state.global_step == trainer.state.global_step == 1


def test_a_resumed_run_shares_the_same_classes(make_trainer: MakeTrainer, named: Any, tmp_path: Path) -> None:
    """The same columns of the teacher for other classes of the student are another teacher."""
    given = {"train_dataset": shades(NAMES, 8), "max_steps": 2} | LOGITS
    network = named(KNOWN)
    trainer = make_trainer(
        model=named(NAMES, 3), teacher=OnlineTeacher(network, PROCESSOR), save_strategy="steps", save_steps=1, **given
    )
    trainer.train()
    checkpoint = str(tmp_path / "out" / "checkpoint-1")
    again = make_trainer(model=named(NAMES, 3), teacher=OnlineTeacher(network, PROCESSOR), **given)
    again.train(resume_from_checkpoint=checkpoint)
    for name, value in trainer.student.state_dict().items():
        assert torch.equal(value, again.student.state_dict()[name]), name
    network.config.id2label = {0: "dog", 1: "elk", 2: "Bee", 3: "cat"}
    other = make_trainer(model=named(NAMES, 3), teacher=OnlineTeacher(network, PROCESSOR), **given)
    with pytest.raises(ValueError, match="teacher classes"):
        other.train(resume_from_checkpoint=checkpoint)


def test_answers_stored_about_unknown_classes(named: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Features are of use whatever the classes are, and which answer is right is told where it is known."""
    images = shades(NAMES, 12)
    mixed = ViewPolicy(1, mixing=Mixing(1.0, 0.0))
    for views, kind in ((ViewPolicy(1), "plain"), (mixed, "mixed")):
        some = CachedTeacher.write(ByShade(named(KNOWN), PROCESSOR), images, tmp_path / f"some-{kind}", views)
        assert "of use for the other classes" in caplog.text and "not know: 'cat'" in caplog.text
        assert some.manifest.summary["labelled"] == 12
        if kind == "plain":
            assert some.manifest.summary["top1"] == 0.75
        caplog.clear()
        none = CachedTeacher.write(
            OnlineTeacher(named(["n1", "n2"]), PROCESSOR), images, tmp_path / f"none-{kind}", views
        )
        assert "of use for their features alone" in caplog.text
        assert none.manifest.summary["top1"] is None and none.manifest.summary["labelled"] == 0
        caplog.clear()


def test_features_of_a_teacher_of_any_classes(make_trainer: MakeTrainer, named: Any, tmp_path: Path) -> None:
    """Asked at each step, stored, and in an ensemble."""
    images = shades(NAMES, 12)
    network = OnlineTeacher(named(["n1", "n2", "n3"]), PROCESSOR)
    stored = CachedTeacher.write(network, images, tmp_path / "stored", ViewPolicy(1))
    given = {"train_dataset": images, "kd_weight": 0.0, "max_steps": 1, "eval_dataset": images} | {
        "crd_weight": 0.8,
        "adversarial_weight": 0.0,
    }
    for teacher in (network, stored, TeacherEnsemble([network, OnlineTeacher(named(["n3", "n2", "n1"]), PROCESSOR)])):
        trainer = make_trainer(model=named(NAMES, 3), teacher=teacher, **given)
        trainer.train()
        assert not trainer.classes.has_teacher and "eval_teacher_agreement" not in trainer.evaluate()
        assert trainer.state.log_history[0]["loss_crd"] > 0
