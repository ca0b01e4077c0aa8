"""Batch sizes that are found by trying are those of the run and of its checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from exrep_hf import DistillationTrainer

MakeTrainer = Callable[..., Any]
SAVING = {"save_strategy": "steps", "save_steps": 2}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let the device hold so many images, which is found in a step, from 0 on: after its weights have moved."""

    def hold(images: int, step: int = 1) -> None:
        def training_step(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
            loss = original(self, model, inputs, *args)
            if len(inputs["pixel_values"]) > images and self.state.global_step >= step:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return loss

        monkeypatch.setattr(DistillationTrainer, "training_step", training_step, raising=False)

    original = DistillationTrainer.training_step
    return hold


def history(trainer: Any) -> list[dict[str, float]]:
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")
    return [{name: value for name, value in entry.items() if name not in timed} for entry in trainer.state.log_history]


@pytest.mark.parametrize("images", ["images", "tensors", "queue"])
def test_a_found_batch_is_one_that_was_given(
    images: str, memory: Any, make_trainer: MakeTrainer, make_images: Any, parameters: Any, capsys: Any
) -> None:
    """The Trainer begins again with the student, bank and moments that the failed attempt left."""
    memory(4)
    data = {"train_dataset": make_images(12)} if images == "images" else {}
    data |= {"queue_length": 16} if images == "queue" else {}
    plain = make_trainer(per_device_train_batch_size=4, freeze_batch_norm=False, **data)
    plain.train()
    assert "fit the memory" not in capsys.readouterr().out
    found = make_trainer(per_device_train_batch_size=8, auto_find_batch_size=True, freeze_batch_norm=False, **data)
    found.train()
    said = "4 images a step fit the memory, not 8: learning rate 0.01 and 4 steps stay those of 8"
    assert said in capsys.readouterr().out
    assert history(found) == history(plain) and len(history(plain)) == 5
    expected = parameters(plain)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(found).items())


def test_a_checkpoint_names_the_batch_that_ran(memory: Any, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """It named the one that was tried first, and refused the real one."""
    memory(4)
    trying = {"per_device_train_batch_size": 8, "auto_find_batch_size": True}
    whole = make_trainer(**trying, **SAVING)
    whole.train()
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert json.loads((checkpoint / "checkpoint_manifest.json").read_text())["run"]["images_per_step"] == 4
    for changes in (trying, {"per_device_train_batch_size": 4}):
        resumed = make_trainer(**changes)
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert history(resumed)[:4] == history(whole)[:4]
        assert all(map(torch.equal, resumed.student.parameters(), whole.student.parameters()))
    with pytest.raises(ValueError, match="images per step: 4 in the checkpoint, 8 now"):
        make_trainer(per_device_train_batch_size=8).train(resume_from_checkpoint=str(checkpoint))
    memory(3, step=2)
    with pytest.raises(ValueError, match="A batch of 4 images, with which .* does not fit the memory, and a smaller"):
        make_trainer(**trying).train(resume_from_checkpoint=str(checkpoint))


def test_checkpoints_of_older_releases(memory: Any, make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """They name the first batch, and go on with the one that ran."""
    memory(4, 0)
    trying = {"per_device_train_batch_size": 8, "auto_find_batch_size": True}
    make_trainer(max_steps=2, **trying, **SAVING).train()
    path = tmp_path / "out" / "checkpoint-2" / "checkpoint_manifest.json"
    content = json.loads(path.read_text())
    del content["sha256"], content["run"]["settings"]
    path.write_text(json.dumps(content | {"run": content["run"] | {"images_per_step": 8}}))
    resumed = make_trainer(**trying)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4 and resumed.get_total_train_batch_size(resumed.args) == 4
