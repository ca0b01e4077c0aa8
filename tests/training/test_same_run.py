"""What a run has to share with the one whose checkpoint it goes on from."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from exrep_hf import DistillationArguments
from exrep_hf.arguments import DataArguments
from exrep_hf.data import Augmentation
from exrep_hf.study import folder
from exrep_hf.training import same_run

MakeTrainer = Callable[..., Any]
AUGMENTATION = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")
SAVING = {"save_strategy": "steps", "save_steps": 2}


@pytest.fixture(scope="module")
def begun() -> dict[str, Path]:
    """One interrupted run for all tests that only try to go on from it."""
    return {}


@pytest.fixture
def begin(begun: dict[str, Path], tmp_path: Path, make_trainer: MakeTrainer, make_images: Any) -> Iterator[Any]:
    """Return a function that makes a trainer for the next start of that run, with changes."""

    def settings(**changes: Any) -> dict[str, Any]:
        images = {"train_dataset": make_images(12), "augmentation": AUGMENTATION}
        return images | SAVING | {"critic_learning_rate": 1e-3} | changes

    if not begun:
        make_trainer(**settings()).train()
        begun["checkpoint"] = tmp_path / "out" / "checkpoint-2"
    yield lambda **changes: make_trainer(**settings(**changes | {"output_dir": str(tmp_path / "again")}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ce_weight": 0.5}, "`ce_weight`: 1.0 in the checkpoint, 0.5 now"),
        ({"kd_weight": 0.5}, "`kd_weight`: 1.0 in the checkpoint, 0.5 now"),
        ({"crd_weight": 0.0}, "`crd_weight`: 0.8 in the checkpoint, 0.0 now"),
        ({"critic_weight": 0.2}, "`critic_weight`: 0.1 in the checkpoint, 0.2 now"),
        ({"temperature": 2.0}, "`temperature`: 4.0 in the checkpoint, 2.0 now"),
        ({"crd_temperature": 0.1}, "`crd_temperature`: 0.07 in the checkpoint, 0.1 now"),
        ({"num_negatives": 4}, "`num_negatives`: 8 in the checkpoint, 4 now"),
        ({"embedding_dim": 4}, "`embedding_dim`: 8 in the checkpoint, 4 now"),
        ({"momentum": 0.9}, "`momentum`: 0.5 in the checkpoint, 0.9 now"),
        ({"crd_negatives": "batch"}, "`crd_negatives`: image in the checkpoint, batch now"),
        ({"crd_table_dtype": "bfloat16"}, "`crd_table_dtype`: float32 in the checkpoint, bfloat16 now"),
        ({"queue_length": 8}, "`queue_length`: None in the checkpoint, 8 now"),
        ({"freeze_batch_norm": False}, "`freeze_batch_norm`: True in the checkpoint, False now"),
        ({"mixup": 0.5, "crd_weight": 0.0}, "`mixup`: 0.0 in the checkpoint, 0.5 now"),
        ({"cutmix": 0.5, "crd_weight": 0.0}, "`cutmix`: 0.0 in the checkpoint, 0.5 now"),
        ({"distiller_share": 0.5}, "`distiller_share`: 1.0 in the checkpoint, 0.5 now"),
        ({"label_smoothing_factor": 0.0}, "`label_smoothing_factor`: 0.1 in the checkpoint, 0.0 now"),
        ({"views": 2}, "views: None in the checkpoint, {'views': 2, .* now"),
        ({"seed": 5}, "seed: 42 in the checkpoint, 5 now"),
        ({"data_seed": 5}, "`data_seed`: None in the checkpoint, 5 now"),
        ({"max_grad_norm": 1.0}, "`max_grad_norm`: 0.0 in the checkpoint, 1.0 now"),
        ({"dataloader_drop_last": True}, "`dataloader_drop_last`: False in the checkpoint, True now"),
        ({"optim": "sgd"}, "`optim`: adamw.* in the checkpoint, sgd now"),
        ({"augmentation": None}, "augmentation: {'scale': .0.3, 1.0., .* in the checkpoint, None now"),
        ({"augmentation": dataclasses.replace(AUGMENTATION, hflip=0.25)}, "augmentation: .*'hflip': 0.25, .* now"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_what_the_weights_depend_on(
    changes: dict[str, Any], named: str, begin: MakeTrainer, begun: dict[str, Path]
) -> None:
    """A run that goes on under other settings gives neither the one result nor the other, and nothing says so."""
    trainer = begin(**changes)
    before = [value.clone() for value in trainer.student.parameters()]
    with pytest.raises(
        ValueError, match=f"is of another run .*{named}.* Resume with the settings it was written with"
    ):
        trainer.train(resume_from_checkpoint=str(begun["checkpoint"]))
    assert all(map(torch.equal, before, trainer.student.parameters()))


def test_other_pixels_of_the_student(begin: MakeTrainer, begun: dict[str, Path]) -> None:
    """Another normalisation is another input of the same network."""
    trainer = begin()
    transform = trainer.train_dataset.dataset.transform
    transform.student = dataclasses.replace(transform.student, mean=(0.4,) * 3)
    with pytest.raises(ValueError, match="of another run .student pixels: .*0.5.* in the checkpoint, .*0.4.* now"):
        trainer.train(resume_from_checkpoint=str(begun["checkpoint"]))


def test_an_optimizer_of_ones_own(begin: MakeTrainer, begun: dict[str, Path]) -> None:
    """Another optimizer's state loads, and fails with a KeyError in the first step, or not at all."""
    student = begin().student
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    own = begin(model=student, optimizers=(optimizer, None), critic_learning_rate=None)
    with pytest.raises(ValueError, match="of another run .optimizer: None in the checkpoint, SGD now"):
        own.train(resume_from_checkpoint=str(begun["checkpoint"]))


def test_other_parameter_groups(begin: MakeTrainer, begun: dict[str, Path]) -> None:
    """PyTorch's own sentence names no setting."""
    with pytest.raises(ValueError, match=r"optimizer.s state in .* parameters by group, .*`critic_learning_rate`"):
        begin(critic_learning_rate=None).train(resume_from_checkpoint=str(begun["checkpoint"]))


def test_what_comes_from_the_checkpoint_is_said(begin: MakeTrainer, begun: dict[str, Path], caplog: Any) -> None:
    """The optimizer's state wins over the settings, as it has to, but nobody would know."""
    unchanged, changed = begin(), begin(learning_rate=0.5, weight_decay=0.3, adam_beta2=0.9)
    for trainer in (unchanged, changed):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "exrep_hf"):
            trainer.train(resume_from_checkpoint=str(begun["checkpoint"]))
    assert "the optimizer goes on as it was: " in caplog.text
    for said in ("`learning_rate` 0.01 (not 0.5)", "`weight_decay` 0.0 (not 0.3)", "`adam_beta2` 0.999 (not 0.9)"):
        assert said in caplog.text
    pairs = zip(unchanged.student.parameters(), changed.student.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_an_unchanged_run_says_nothing(begin: MakeTrainer, begun: dict[str, Path], caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        begin(logging_steps=2, save_steps=1, dataloader_num_workers=1, report_to="none").train(
            resume_from_checkpoint=str(begun["checkpoint"])
        )
    assert [record for record in caplog.records if record.name.startswith("exrep_hf")] == []


def test_training_longer(begin: MakeTrainer, begun: dict[str, Path], caplog: Any, logged: Any) -> None:
    """The steps that were made stay; those that follow are on the longer, linear schedule: its rate × (1 - s / 8)."""
    trainer = begin(max_steps=8)
    with caplog.at_level(logging.WARNING, "exrep_hf"):
        trainer.train(resume_from_checkpoint=str(begun["checkpoint"]))
    assert "goes on with `max_steps` 8 (was 4). The learning rate follows the schedule of these" in caplog.text
    assert trainer.state.global_step == 8
    # The third step's rate stands in the checkpoint.
    assert logged(trainer, "learning_rate")[2:] == pytest.approx(
        [0.005, *(0.01 * (1 - step / 8) for step in range(3, 8))]
    )


def test_checkpoints_of_older_releases(
    begin: MakeTrainer, begun: dict[str, Path], caplog: Any, tmp_path: Path
) -> None:
    """They say less, and what they don't say is not compared; that is said."""
    manifest = begun["checkpoint"] / "checkpoint_manifest.json"
    content = manifest.read_text()
    old = json.loads(content)
    del old["sha256"]
    for name in ("settings", "optimizer", "augmentation", "student_pixels"):
        del old["run"][name]
    try:
        manifest.write_text(json.dumps(old))
        with caplog.at_level(logging.WARNING, "exrep_hf"):
            begin().train(resume_from_checkpoint=str(begun["checkpoint"]))
        assert "is of an older release and holds no settings" in caplog.text
        with pytest.raises(ValueError, match="seed: 42 in the checkpoint, 5 now"):
            begin(seed=5).train(resume_from_checkpoint=str(begun["checkpoint"]))
    finally:
        manifest.write_text(content)


def test_settings_of_a_run_name_no_place(begin: MakeTrainer, begun: dict[str, Path]) -> None:
    """Checkpoints are pushed with `hub_strategy="checkpoint"`."""
    manifest = (begun["checkpoint"] / "checkpoint_manifest.json").read_text()
    assert str(begun["checkpoint"].parents[2]) not in manifest and "hub_token" not in manifest


def test_one_rule() -> None:
    """Names that are misspelt would compare nothing; a study and a checkpoint go by the same list."""
    fields = {field.name for cls in (DistillationArguments, DataArguments) for field in dataclasses.fields(cls)}
    optional = {name for name in same_run.OF_NO_EFFECT if name.startswith("trackio")}
    lists = (same_run.OF_NO_EFFECT, same_run.FROM_CHECKPOINT, same_run.MAY_CHANGE, same_run._IN_OTHER_FACTS)
    assert frozenset().union(*lists) - optional <= fields
    assert sum(map(len, lists)) == len(frozenset().union(*lists))
    assert folder.OF_NO_EFFECT is same_run.OF_NO_EFFECT
