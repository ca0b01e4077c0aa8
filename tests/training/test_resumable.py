"""Which checkpoint a run goes on from, and that one always exists."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, Trainer

from exrep_hf import ExRepForImageClassification, OnlineTeacher
from exrep_hf.training.published import PublishingTrainer

MakeTrainer = Callable[..., Any]
MANIFEST = "checkpoint_manifest.json"
SAVING = {"save_strategy": "steps", "save_steps": 1}


def test_manifest_names_every_file(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(max_steps=1, **SAVING).train()
    checkpoint = tmp_path / "out" / "checkpoint-1"
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    assert manifest["files"] == {
        path.name: path.stat().st_size for path in checkpoint.iterdir() if path.name != MANIFEST
    }
    assert {"model.safetensors", "distillation_state.safetensors", "optimizer.pt", "trainer_state.json"} <= set(
        manifest["files"]
    )
    run = manifest["run"]
    assert (run["processes"], run["images_per_step"], run["training_images"], run["classes"]) == (1, 4, 12, 4)
    assert len(run["teacher"]) == len(run["content_of_images"]) == 16


def _cut(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda checkpoint: (checkpoint / MANIFEST).unlink(), "no readable 'checkpoint_manifest.json'"),
        (lambda checkpoint: (checkpoint / MANIFEST).write_text("{"), "no readable 'checkpoint_manifest.json'"),
        (lambda checkpoint: (checkpoint / "optimizer.pt").unlink(), "'optimizer.pt' is missing"),
        (_cut, r"'model.safetensors' has \d+ bytes instead of \d+"),
    ],
)
def test_half_written_checkpoint_is_passed_over(
    damage: Callable[[Path], None], said: str, make_trainer: MakeTrainer, tmp_path: Path, caplog: Any
) -> None:
    """The Trainer takes the newest folder, whatever is in it."""
    make_trainer(**SAVING).train()
    shutil.rmtree(tmp_path / "out" / "checkpoint-4")
    damage(tmp_path / "out" / "checkpoint-3")
    with pytest.raises(ValueError, match=f"is not whole: .*{said}.* Resume from an earlier"):
        make_trainer(**SAVING).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    resumed = make_trainer(**SAVING)
    with caplog.at_level(logging.WARNING, "exrep_hf.training.checkpoints"):
        resumed.train(resume_from_checkpoint=True)
    assert "Passed over: The checkpoint" in caplog.text and "checkpoint-3" in caplog.text
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3, 4]


def test_finished_run_takes_no_further_step(make_trainer: MakeTrainer, parameters: Any) -> None:
    """A run killed after its last step, but before its student was saved, must not train on."""
    whole = make_trainer(max_steps=2, **SAVING)
    whole.train()
    expected = {name: value.clone() for name, value in parameters(whole).items()}
    resumed = make_trainer(max_steps=2, **SAVING)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 2
    assert all(torch.equal(value, expected[name]) for name, value in parameters(resumed).items())


def test_no_whole_checkpoint(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(max_steps=1, **SAVING).train()
    (tmp_path / "out" / "checkpoint-1" / MANIFEST).unlink()
    with pytest.raises(ValueError, match="holds no whole checkpoint. Start without it"):
        make_trainer().train(resume_from_checkpoint=True)


def test_an_old_checkpoint_goes_when_the_new_one_is_whole(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `save_total_limit=1`, a run killed between removing and finishing would have none."""
    seen = []

    def rotate(folder: str, limit: int | None, **_: Any) -> None:
        seen.append((limit, {path.name: (path / MANIFEST).is_file() for path in Path(folder).glob("checkpoint-*")}))

    monkeypatch.setattr("exrep_hf.training.resuming.rotate_checkpoints", rotate)
    monkeypatch.setattr(
        "transformers.trainer.rotate_checkpoints", lambda save_total_limit, **_: _none(save_total_limit)
    )
    trainer = make_trainer(max_steps=2, save_total_limit=1, **SAVING)
    trainer.train()
    assert seen == [(1, {"checkpoint-1": True}), (1, {"checkpoint-1": True, "checkpoint-2": True})]
    assert trainer.args.save_total_limit == 1


def _none(limit: int | None) -> None:
    assert limit is None, "the Trainer's own rotation comes before the checkpoint is whole"


def test_limit_is_kept(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    make_trainer(save_total_limit=1, **SAVING).train()
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-4"]


def test_files_of_an_interrupted_save_are_not_taken_over(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the old attempt beside parts of the new one is a mixture of two runs."""
    make_trainer(max_steps=2, **SAVING).train()
    stale = tmp_path / "out" / "checkpoint-2"
    (stale / "rng_state_1.pth").write_bytes(b"of two processes")
    during = []
    save = Trainer._save_checkpoint

    def watch(self: Trainer, model: Any, trial: Any) -> None:
        during.append(stale.exists())
        save(self, model, trial)

    monkeypatch.setattr(Trainer, "_save_checkpoint", watch)
    make_trainer(max_steps=2, **SAVING).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))
    assert during == [False] and (stale / MANIFEST).is_file() and not (stale / "rng_state_1.pth").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"per_device_train_batch_size": 2}, "images per step: 4 in the checkpoint, 2 now"),
        ({"gradient_accumulation_steps": 3}, "images per step: 4 in the checkpoint, 12 now"),
        ({"seed": 5}, "seed: 42 in the checkpoint, 5 now"),
    ],
)
def test_another_run_is_refused(changes: dict[str, Any], named: str, make_trainer: MakeTrainer) -> None:
    make_trainer(max_steps=1, **SAVING).train()
    with pytest.raises(ValueError, match=f"of another run .{named}"):
        make_trainer(**SAVING, **changes).train(resume_from_checkpoint=True)


def test_another_teacher_is_refused(make_trainer: MakeTrainer, make_network: Any) -> None:
    """It fits in all its shapes, and a run that changed teachers looks like any other."""
    make_trainer(max_steps=1, **SAVING).train()
    other = OnlineTeacher(make_network(seed=11, width=12))
    with pytest.raises(ValueError, match="of another run .teacher: [0-9a-f]{16} in the checkpoint, [0-9a-f]{16} now"):
        make_trainer(teacher=other, **SAVING).train(resume_from_checkpoint=True)


def test_features_of_another_definition_are_refused(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the bank were written with features of one head of two; those of both are another space."""
    config = DeiTConfig(
        image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    config.num_labels = 4

    def student() -> ExRepForImageClassification:
        return ExRepForImageClassification.from_backbone(DeiTForImageClassificationWithTeacher(config), image_size=16)

    with monkeypatch.context() as older:
        older.setattr("exrep_hf.training.trainer.feature_definition", lambda model: None)
        make_trainer(model=student(), max_steps=1, **SAVING).train()
    with pytest.raises(ValueError, match="features of student: None in the checkpoint, pre_logits now"):
        make_trainer(model=student(), **SAVING).train(resume_from_checkpoint=True)


def test_other_pixels_are_refused(make_trainer: MakeTrainer, make_rows: Any) -> None:
    """The same number of images with the same classes, but others: the bank's rows would be strangers'."""
    rows = make_rows(12)
    make_trainer(train_dataset=rows, max_steps=1, **SAVING).train()
    rows.images = rows.images.flip(0)
    with pytest.raises(ValueError, match="of another run .content of images"):
        make_trainer(train_dataset=rows, **SAVING).train(resume_from_checkpoint=True)


def test_another_number_of_processes_is_said(make_trainer: MakeTrainer, tmp_path: Path, caplog: Any) -> None:
    make_trainer(max_steps=1, **SAVING).train()
    path = tmp_path / "out" / "checkpoint-1" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["run"]["processes"] = 2
    # It would tell that somebody changed the manifest.
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    with caplog.at_level(logging.WARNING, "exrep_hf.training.checkpoints"):
        make_trainer(**SAVING).train(resume_from_checkpoint=True)
    assert "was written by 2 processes and goes on with 1" in caplog.text


def test_data_that_vary_with_the_epoch_are_the_same(make_trainer: MakeTrainer, make_rows: Any) -> None:
    """Crops of a later epoch must not make the data set of a resumed run another one."""

    class Noisy(type(make_rows(1))):  # type: ignore[misc]
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            return item | {"pixel_values": item["pixel_values"] + torch.randn(3, 16, 16)}

    # Three steps an epoch: the checkpoint is of the second.
    make_trainer(train_dataset=Noisy(12), max_steps=5, save_strategy="steps", save_steps=5).train()
    resumed = make_trainer(train_dataset=Noisy(12), max_steps=6)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6


@pytest.mark.parametrize("changes", [{}, {"bf16": True}, {"torch_compile": True, "torch_compile_backend": "eager"}])
def test_evaluating_first_changes_nothing(
    changes: dict[str, Any], make_trainer: MakeTrainer, make_rows: Any, parameters: Any
) -> None:
    """What accelerate prepares for an evaluation it would not wrap for training afterwards."""
    plain, evaluated = (make_trainer(eval_dataset=make_rows(8), **changes) for _ in range(2))
    for _ in range(2):
        evaluated.evaluate()
    assert evaluated.model_wrapped is evaluated.model
    assert evaluated.accelerator._models == [] and not hasattr(evaluated.model, "_is_accelerate_prepared")
    plain.train()
    evaluated.train()
    expected = parameters(plain)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(evaluated).items())


def test_pushed_checkpoint_is_whole(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Trainer pushes before the last file is written."""
    pushed = []

    def push(self: PublishingTrainer, checkpoint: str) -> None:
        pushed.append((Path(checkpoint).name, (Path(checkpoint) / MANIFEST).is_file()))

    monkeypatch.setattr(PublishingTrainer, "_push_from_checkpoint", push)
    monkeypatch.setattr(Trainer, "init_hf_repo", lambda self, token=None: None)
    trainer = make_trainer(max_steps=2, **SAVING)
    trainer.args.push_to_hub = True
    trainer.train()
    assert pushed == [("checkpoint-1", True), ("checkpoint-2", True)]
