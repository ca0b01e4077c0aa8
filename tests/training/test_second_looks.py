"""Rules that only a second look shows: two trainings, other names, other types and sizes, saves in parts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Preprocessing, ViewPolicy
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Storage

MakeTrainer = Callable[..., Any]
ALL_TERMS: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0}


def test_a_second_training_draws_as_the_first(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of a second run must not count as a further batch of the last step of the first."""
    trainer = make_trainer(max_steps=1, **ALL_TERMS)
    drawn: list[float] = []
    compute_loss = trainer.compute_loss

    def drawing(*args: Any, **kwargs: Any) -> Any:
        drawn.append(float(torch.rand(())))
        return compute_loss(*args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", drawing)
    trainer.train()
    trainer.train()
    assert len(drawn) == 2 and drawn[0] == drawn[1]


@pytest.mark.parametrize("metric", ["loss", "eval_loss", None])
def test_the_best_model_by_a_loss_that_is_not_there(
    metric: str | None, make_trainer: MakeTrainer, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """The Trainer takes both names of a metric, and would end with a KeyError after the first epoch."""
    images = make_images(9)
    cached = CachedTeacher.write(teacher, images, tmp_path / "answers", ViewPolicy(1, 42))
    settings: dict[str, Any] = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}
    with pytest.raises(ValueError, match="goes by the evaluation's loss, and there is none"):
        make_trainer(
            teacher=cached,
            train_dataset=images,
            eval_dataset=images,
            ce_weight=0.0,
            metric_for_best_model=metric,
            **settings,
            **ALL_TERMS,
        )


def test_logits_of_an_evaluation_are_in_float32(make_trainer: MakeTrainer, make_rows: Any, make_student: Any) -> None:
    """NumPy has no bfloat16: metrics of a student with such weights would fail, or depend on who converts them."""
    trainer = make_trainer(model=make_student().bfloat16(), eval_dataset=make_rows(4), **ALL_TERMS)
    batch = next(iter(trainer.get_eval_dataloader()))
    loss, logits, labels = trainer.prediction_step(trainer.model.eval(), batch, False)
    assert logits.dtype == torch.float32 and logits.shape == (4, 4) and len(labels) == 4
    assert loss.isfinite()
    assert trainer.prediction_step(trainer.model, batch, True)[1:] == (None, None)


@pytest.mark.parametrize("size", [8, 24])
def test_stored_answers_for_a_student_of_another_size(
    size: int, make_args: Any, make_student: Any, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Answers are stored without knowing the student: a policy at the size of its images gives other pixels."""
    images = make_images(12)
    augmentation = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m9-n2")
    cached = CachedTeacher.write(
        teacher, images, tmp_path / "answers", ViewPolicy(2, 42, augmentation), Storage("float32", batch_size=4)
    )
    wanted = Preprocessing(size, size, None, "bilinear", (0.5,) * 3, (0.25,) * 3)
    losses = []
    for source in (teacher, cached):
        trainer = DistillationTrainer(
            make_student(),
            source,
            make_args(views=2, learning_rate=1e-3, **ALL_TERMS),
            images,
            augmentation=augmentation,
            processing_class=wanted.to_image_processor(),
        )
        trainer.train()
        losses.append([entry["loss_kd"] for entry in trainer.state.log_history if "loss_kd" in entry])
    assert len(losses[0]) == 4 and losses[0] == losses[1]


@pytest.mark.parametrize(("push", "internal", "pushes"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_student_in_parts_is_pushed_once(
    push: bool, internal: bool, pushes: int, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where FSDP saves in parts, each of the Trainer's own saves, as of a checkpoint, would be a push."""
    trainer = make_trainer(**ALL_TERMS)
    pushed: list[dict[str, Any]] = []
    state = trainer.distillation_objective.state_dict()
    monkeypatch.setattr(trainer, "is_fsdp_enabled", True)
    plugin = SimpleNamespace(state_dict_type="StateDictType.SHARDED_STATE_DICT")
    parts = SimpleNamespace(fsdp_plugin=plugin)
    accelerator = SimpleNamespace(state=parts, unwrap_model=trainer.accelerator.unwrap_model)
    monkeypatch.setattr(trainer, "accelerator", accelerator)
    monkeypatch.setattr(trainer, "whole_state_dict", lambda: state)
    monkeypatch.setattr(trainer, "push_to_hub", lambda **how: pushed.append(how))
    monkeypatch.setattr(type(trainer), "student", trainer.model.student)
    monkeypatch.setattr(trainer.args, "push_to_hub", push)
    trainer.save_model(str(tmp_path / "saved"), _internal_call=internal)
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert len(pushed) == pushes
