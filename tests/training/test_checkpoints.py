"""What is saved, and what comes back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageClassification, TrainerCallback

from exrep_hf import DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import Augmentation
from tests.settings import BEST_OF_EACH_STEP

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]
MakeImages = Callable[[int], datasets.Dataset]
Parameters = Callable[[Any], dict[str, Tensor]]

AUGMENTATION = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")


def test_saved_student_is_the_trained_one(make_trainer: MakeTrainer, make_rows: MakeRows, tmp_path: Path) -> None:
    """What is published must answer exactly as what was evaluated, and hold nothing but the student."""
    trainer = make_trainer()
    trainer.train()
    trainer.save_model()
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    model = AutoModelForImageClassification.from_pretrained(folder)
    images = make_rows(5).images
    # Read from a file it has the usual memory layout, in which sums are rounded otherwise.
    torch.nn.Module.to(trainer.student, memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert isinstance(model, ExRepForImageClassification) and not model.training
        assert torch.equal(model(images).logits, trainer.student.eval()(images).logits)
    assert load_file(folder / "model.safetensors").keys() == trainer.student.state_dict().keys()
    processor = AutoImageProcessor.from_pretrained(folder)
    assert tuple(processor.image_mean) == (0.5, 0.5, 0.5) and dict(processor.size) == {"height": 16, "width": 16}


def test_student_without_known_preprocessing_is_saved_too(
    make_args: Any, make_network: Any, teacher: Any, make_rows: MakeRows, tmp_path: Path
) -> None:
    """A data set of tensors needs no image processor; its absence must not stop a run at its end."""
    trainer = DistillationTrainer(make_network(seed=3), teacher, make_args(max_steps=1), make_rows(12))
    trainer.train()
    trainer.save_model()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}


def test_no_weight_of_the_teacher_is_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """A teacher in the checkpoint multiplies its size, and may not be published at all."""
    trainer = make_trainer(save_strategy="steps", save_steps=2)
    trainer.train()
    teacher = {value.data_ptr() for value in trainer.teacher.model.state_dict().values()}
    assert teacher.isdisjoint(value.data_ptr() for value in trainer.model.state_dict().values())
    assert not set(trainer.teacher.model.modules()) & set(trainer.model.modules())
    weights = [value for value in trainer.teacher.model.state_dict().values() if value.numel() > 4]
    folder = tmp_path / "out" / "checkpoint-4"
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "distillation_state.safetensors"}
    saved = [value for path in folder.glob("*.safetensors") for value in load_file(path).values()]
    optimizer = torch.load(folder / "optimizer.pt", weights_only=True)
    assert len(optimizer["state"]) == sum(1 for _ in trainer.model.parameters())
    # A fresh BatchNorm holds the same zeros and ones everywhere.
    weights = [value for value in weights if value.float().std() > 0]
    assert len(weights) > 10 and len(saved) > 40
    assert not any(value.shape == weight.shape and torch.equal(value, weight) for value in saved for weight in weights)


class Stop(TrainerCallback):
    """Ends a run early without changing its schedule, as a crash does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize(
    ("kind", "step"),
    [("images", 2), ("images", 3), ("images", 5), ("tensors", 2), ("tensors", 5), ("workers", 2), ("shared", 3)]
    + [("kept workers", 2)],
)
def test_resumed_run_equals_an_uninterrupted_one(
    kind: str, step: int, make_trainer: MakeTrainer, make_rows: MakeRows, make_images: MakeImages,
    parameters: Parameters, tmp_path: Path,
) -> None:  # fmt: skip
    """Whatever a checkpoint forgets, a bank, Z, a generator, changes the rest of the run without a sign."""

    def make(name: str, **changes: Any) -> Any:
        rows: dict[str, Any] = {"train_dataset": make_rows(12)}
        if kind == "shared":
            rows |= {"crd_negatives": "batch", "crd_table_dtype": "bfloat16"}
        elif kind != "tensors":
            rows = {"train_dataset": make_images(12), "augmentation": AUGMENTATION}
        return make_trainer(
            **rows,
            **changes,
            output_dir=str(tmp_path / name),
            dataloader_num_workers=2 if "workers" in kind else 0,
            dataloader_persistent_workers=kind == "kept workers",
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            # Some checkpoints come between two logs.
            logging_steps=3,
            max_steps=7,
            save_strategy="steps",
            save_steps=step,
            critic_learning_rate=1e-3,
            weight_decay=0.01,
        )

    whole = make("whole")
    whole.train()
    interrupted = make("interrupted", callbacks=[Stop(step)])
    interrupted.train()
    assert interrupted.state.global_step == step
    torch.rand(17)
    resumed = make("interrupted")
    resumed.train(resume_from_checkpoint=True)

    expected = parameters(whole)
    assert {
        "crd_bank.log_normalizer.teacher",
        "terms.crd.loss.student_embedding.weight",
        "crd_labels",
    } <= expected.keys()
    assert (expected["crd_bank.bank.teacher"].dtype == torch.bfloat16) == (kind == "shared")
    for name, value in parameters(resumed).items():
        assert torch.equal(value, expected[name]), name
    assert _history(resumed) == _history(whole)
    states = [each.optimizer.state_dict() for each in (whole, resumed)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for key, state in states[0]["state"].items():
        assert all(torch.equal(value, states[1]["state"][key][name]) for name, value in state.items())
    generators = [
        torch.load(tmp_path / name / f"checkpoint-{7 // step * step}" / "rng_state.pth", weights_only=False)
        for name in ("whole", "interrupted")
    ]
    # A loader draws a seed for its workers when they start: nothing of a step depends on how often that is.
    assert kind == "kept workers" or torch.equal(generators[0]["cpu"], generators[1]["cpu"])
    assert generators[0]["python"] == generators[1]["python"]


def _history(trainer: Any) -> list[dict[str, float]]:
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
    return [{name: value for name, value in entry.items() if name not in timed} for entry in trainer.state.log_history]


def test_best_student_is_restored(make_trainer: MakeTrainer, make_rows: MakeRows, tmp_path: Path) -> None:
    """The last student saved under the name of the best would be published with the best one's numbers."""
    trainer = make_trainer(
        eval_dataset=make_rows(10),
        **BEST_OF_EACH_STEP,
    )
    trainer.train()
    assert trainer.state.best_global_step < 4, "the best must not be the last, or nothing is restored"
    best = load_file(tmp_path / "out" / f"checkpoint-{trainer.state.best_global_step}" / "model.safetensors")
    last = load_file(tmp_path / "out" / "checkpoint-4" / "model.safetensors")
    now = trainer.student.state_dict()
    assert all(torch.equal(now[name], value) for name, value in best.items())
    assert any(not torch.equal(now[name], value) for name, value in last.items())
    assert trainer.evaluate()["eval_loss_kd"] == pytest.approx(trainer.state.best_metric)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"crd_weight": 0.0}, "terms.crd.loss.student_embedding.weight"),
        ({"adversarial_weight": 0.0}, "terms.adversarial.loss.critic.layers.0.bias"),
        ({"embedding_dim": 4}, "crd_bank.bank.student"),
        ({"critic_hidden_dim": 4}, "terms.adversarial.loss.critic.layers.0.bias"),
    ],
)
def test_resuming_with_other_terms(
    changes: dict[str, Any], named: str, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """A term that starts anew in the middle of a run gives neither the one result nor the other.

    Also where the checkpoint is of a release that kept no settings.
    """
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    resumed = make_trainer(max_steps=2, **changes)
    manifest = tmp_path / "out" / "checkpoint-1" / "checkpoint_manifest.json"
    content = json.loads(manifest.read_text())
    del content["run"]["settings"], content["sha256"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"does not fit this run: .*'{named}'.* Resume with the loss weights"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_resuming_with_other_images(
    make_trainer: MakeTrainer, make_rows: MakeRows, make_images: MakeImages, tmp_path: Path
) -> None:
    """Rows of the bank belong to images: another number or order of them mixes up all of them."""
    images = make_images(12)
    checkpoint = str(tmp_path / "out" / "checkpoint-1")
    make_trainer(train_dataset=images, max_steps=1, save_strategy="steps", save_steps=1).train()
    fewer = make_trainer(train_dataset=images.select(range(11)), max_steps=2)
    with pytest.raises(ValueError, match="of another run .*training images: 12 in the checkpoint, 11 now"):
        fewer.train(resume_from_checkpoint=checkpoint)
    reversed_order = make_trainer(train_dataset=images.select(range(11, -1, -1)), max_steps=2)
    with pytest.raises(ValueError, match="of another run .content of images: .* in the checkpoint, .* now"):
        reversed_order.train(resume_from_checkpoint=checkpoint)


def test_resuming_another_student(make_trainer: MakeTrainer, make_network: Any, tmp_path: Path) -> None:
    """PyTorch's own error names a hundred weights and no remedy."""
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1).train()
    with pytest.raises(ValueError, match="(?s)another network than this run's.*student and distiller"):
        make_trainer(model=make_network(seed=3)).train(resume_from_checkpoint=True)


def test_checkpoint_without_state(make_trainer: MakeTrainer) -> None:
    """A run that goes on without its bank looks resumed."""
    make_trainer(max_steps=1, save_strategy="steps", save_steps=1, save_only_model=True).train()
    missing = "has no 'distillation_state.safetensors'; expected .* without `save_only_model`"
    with pytest.raises(ValueError, match=missing):
        make_trainer(max_steps=2).train(resume_from_checkpoint=True)


def test_checkpoint_of_logit_terms_alone(make_trainer: MakeTrainer, parameters: Parameters) -> None:
    """With nothing but the student to save, resuming must work all the same."""
    settings = {"crd_weight": 0.0, "adversarial_weight": 0.0, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(**settings)
    whole.train()
    resumed = make_trainer(**settings)
    resumed.train(resume_from_checkpoint=str(Path(whole.args.output_dir) / "checkpoint-2"))
    expected = parameters(whole)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(resumed).items())


def test_failed_save_leaves_the_state_that_was_there(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed while it saves must leave no half-written state under the final name."""
    trainer = make_trainer(max_steps=1)
    trainer.train()
    trainer.write_additions(str(tmp_path))

    def fail(state: dict[str, Tensor], path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("exrep_hf.training.saving.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        trainer.write_additions(str(tmp_path))
    state = load_file(tmp_path / "distillation_state.safetensors")
    assert state.keys() == trainer.distillation_objective.auxiliary_state().keys()
