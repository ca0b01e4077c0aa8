"""What teacher and student see: mixed images, and a residual that comes and goes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from exrep_hf import OnlineTeacher
from exrep_hf.data import ViewPolicy
from exrep_hf.outputs import TeacherOutput

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]

KD_ONLY = {"ce_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0}


class Watched(OnlineTeacher):
    """Remembers what it was asked."""

    def __call__(self, batch: Mapping[str, Tensor], *, temperature: float = 1.0) -> TeacherOutput:
        self.asked = batch["pixel_values"]
        return super().__call__(batch, temperature=temperature)


def first_batch(trainer: Any) -> dict[str, Tensor]:
    return trainer.data_collator([trainer.train_dataset[row] for row in range(4)])


@pytest.fixture
def watched(teacher: OnlineTeacher) -> Watched:
    return Watched(teacher.model)


def test_teacher_is_asked_about_the_mixture_that_the_student_sees(make_trainer: MakeTrainer, watched: Watched) -> None:
    """Answers for other images than the student's would be noise, and the loss would still fall."""
    trainer = make_trainer(teacher=watched, mixup=1.0, cutmix=1.0, **KD_ONLY)
    batch = first_batch(trainer)
    seen: list[Tensor] = []
    trainer.student.register_forward_pre_hook(lambda module, images: seen.append(images[0]))
    trainer.model.train()
    trainer.compute_loss(trainer.model, dict(batch))
    assert torch.equal(seen[0], watched.asked)
    assert not torch.equal(seen[0], batch["pixel_values"])
    trainer.model.eval()
    trainer.compute_loss(trainer.model, dict(batch))
    assert torch.equal(watched.asked, batch["pixel_values"]), "mixed in evaluation"


def test_labels_of_mixtures(make_trainer: MakeTrainer) -> None:
    """The label term takes each mixture's shares of the classes, as a plain computation does."""
    trainer = make_trainer(cutmix=1.0, mixup=1.0, kd_weight=0.0, crd_weight=0.0, adversarial_weight=0.0)
    batch = first_batch(trainer)
    trainer.model.train()
    torch.manual_seed(5)
    mixed = trainer._mixing(batch, 4)
    torch.manual_seed(5)
    loss = trainer.compute_loss(trainer.model, dict(batch))
    with torch.no_grad():
        logits = trainer.student(mixed["pixel_values"]).logits
    smooth = mixed["labels"] * 0.9 + 0.1 / 4
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss.detach(), expected)


def test_everything_trains_on_mixtures(make_trainer: MakeTrainer, logged: Any) -> None:
    """All terms that know no single images."""
    trainer = make_trainer(mixup=1.0, cutmix=1.0, max_steps=3, crd_weight=0.0)
    trainer.train()
    for name in ("loss_ce", "loss_kd", "loss_adversarial", "loss_critic"):
        assert len(logged(trainer, name)) == 3


def test_mixtures_are_the_same_after_resuming(make_trainer: MakeTrainer, tmp_path: Any, logged: Any) -> None:
    """Other mixtures after a restart would make a resumed run another run."""
    settings = {"mixup": 1.0, "cutmix": 1.0, "distiller_share": 0.5, "max_steps": 6, "save_strategy": "steps"}
    whole = make_trainer(save_steps=3, output_dir=str(tmp_path / "whole"), **settings, **KD_ONLY)
    whole.train()
    again = make_trainer(save_steps=3, output_dir=str(tmp_path / "again"), **settings, **KD_ONLY)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert logged(again, "loss") == logged(whole, "loss")
    for one, other in zip(whole.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_labels_are_left_alone_without_a_label_term(make_trainer: MakeTrainer) -> None:
    """Images whose class is not known may be marked by any number, as long as nothing looks at it."""
    trainer = make_trainer(mixup=1.0, **KD_ONLY)
    batch = first_batch(trainer) | {"labels": torch.tensor([0, -1, 1, 99])}
    trainer.model.train()
    assert trainer.compute_loss(trainer.model, batch).isfinite()


def test_no_mixtures_with_stored_answers(make_trainer: MakeTrainer, watched: Watched) -> None:
    """Stored answers are for whole images: found before training, not never."""
    watched.views = ViewPolicy()
    with pytest.raises(ValueError, match="stored for other views than are trained on: `mixup` 0.0 stored, 0.5 now"):
        make_trainer(teacher=watched, mixup=0.5, crd_weight=0.0)
    make_trainer(teacher=watched)


def test_share_of_images_with_a_residual(make_trainer: MakeTrainer) -> None:
    """Each image of a training batch is drawn by itself; evaluation uses the whole distiller."""
    trainer = make_trainer(distiller_share=0.25, **KD_ONLY)
    objective = trainer.distillation_objective.train()
    drawn = torch.stack([objective._drawn_for_residual(torch.zeros(8, 3, 16, 16)) for _ in range(100)]).float()
    assert 0.18 < drawn.mean() < 0.32
    assert drawn.mean(1).unique().numel() > 3
    assert objective.eval()._drawn_for_residual(torch.zeros(8, 3, 16, 16)) is None
    whole = make_trainer(**KD_ONLY).distillation_objective.train()
    assert whole._drawn_for_residual(torch.zeros(8, 3, 16, 16)) is None


def test_the_share_reaches_the_student(make_trainer: MakeTrainer) -> None:
    """With a share of next to nothing, training sees the plain student alone."""
    trainer = make_trainer(distiller_share=1e-9, **KD_ONLY)
    torch.nn.init.normal_(trainer.student.input_distiller.to_residual.weight)
    batch = first_batch(trainer)
    answers = trainer.ask_teacher(batch, training=True)
    objective = trainer.distillation_objective.train()
    with torch.no_grad():
        logits = objective(batch["pixel_values"], teacher_logits=answers.logits).logits
        plain = trainer.student.without_distiller().eval()(batch["pixel_values"]).logits
        assert not torch.allclose(objective.eval()(batch["pixel_values"]).logits, plain)
    torch.testing.assert_close(logits, plain)


def test_images_without_residual_are_the_plain_students(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """The path that is left when the distiller is removed must be the one that was trained."""
    student = make_trainer().student.eval()
    torch.nn.init.normal_(student.input_distiller.to_residual.weight)
    images = make_rows(4).images
    with_residual = torch.tensor([True, False, True, False])
    with torch.no_grad():
        mixed = student(images, with_residual=with_residual).logits
        plain, distilled = student.without_distiller()(images).logits, student(images).logits
    torch.testing.assert_close(mixed[1::2], plain[1::2])
    torch.testing.assert_close(mixed[0::2], distilled[0::2])
    assert not torch.allclose(plain, distilled)
