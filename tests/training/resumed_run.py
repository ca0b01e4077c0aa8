"""One of two processes that train, and train again from a checkpoint: for `test_resumed_views.py`."""

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from exrep_hf import (
    CachedTeacher,
    DistillationArguments,
    DistillationTrainer,
    ExRepForImageClassification,
    OnlineTeacher,
    Term,
)
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.teacher.cache import Storage
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, image_rows, network
from .own_loss import Regression

AUGMENTATION = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")
MIXED = {"mixup": 1.0, "cutmix": 1.0, "mix_rounds": 2, "crd_weight": 0.0, "feature_weight": 0.5, "ema_decay": 0.8}
CASES: dict[str, tuple[bool, Augmentation | None, dict[str, Any]]] = {
    f"{kind}, {'augmented' if augmentation else 'as they are'}": (stored, augmentation, changes)
    for kind, stored, changes in (("views", False, {}), ("cache", True, {}), ("views and mixing", False, MIXED))
    for augmentation in (AUGMENTATION, None)
}


def trainer_of(
    teacher: Any, augmentation: Augmentation | None, folder: Path, changes: dict[str, Any]
) -> DistillationTrainer:
    args = DistillationArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        # Some checkpoints come between two logs, and within an epoch.
        logging_steps=3,
        save_strategy="steps",
        save_steps=4,
        save_total_limit=0,
        max_steps=9,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        critic_learning_rate=1e-3,
        num_negatives=8,
        embedding_dim=8,
        critic_hidden_dim=8,
        views=2,
        **EVERY_TERM | {"freeze_batch_norm": False} | changes,
    )
    assert args.world_size == 2
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(
        network(seed=3), distiller="light", distiller_channels=4, image_size=16
    )
    return DistillationTrainer(
        student, teacher, args, image_rows(22), augmentation=augmentation,
        processing_class=PREPROCESSING.to_image_processor(), terms={"own": Term(Regression(), 0.1)},
    )  # fmt: skip


def outcome(trainer: DistillationTrainer) -> dict[str, Any]:
    """All that a run leaves: tensors by name, and its history without timings."""
    state = trainer.distillation_objective.state_dict() | trainer.distillation_objective.auxiliary_state()
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
    history = [{name: entry[name] for name in entry if name not in timed} for entry in trainer.state.log_history]
    assert trainer.optimizer is not None
    moments = [value for each in trainer.optimizer.state_dict()["state"].values() for value in each.values()]
    return {"state": {name: value.clone() for name, value in state.items()}, "history": history, "moments": moments}


def run(rank: int, folder: str) -> None:
    """Write what the uninterrupted and the resumed run of each case left."""
    found = {}
    online: Any = OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor())
    for number, (case, (stored, augmentation, changes)) in enumerate(CASES.items()):
        place, teacher = Path(folder) / str(number), online
        if stored:
            views = ViewPolicy(2, 42, augmentation, Mixing())
            storage = Storage("float32", rows_per_shard=8, batch_size=4)
            teacher = CachedTeacher.write(online, image_rows(22), place / "answers", views, storage)
        whole = trainer_of(teacher, augmentation, place / "out", changes)
        whole.train()
        PartialState().wait_for_everyone()
        if rank == 0:
            # The Trainer writes one at the end too.
            for later in (8, 9):
                shutil.rmtree(place / "out" / f"checkpoint-{later}")
        PartialState().wait_for_everyone()
        torch.rand(17)
        resumed = trainer_of(teacher, augmentation, place / "out", changes)
        resumed.train(resume_from_checkpoint=True)
        assert resumed._initial_global_step == 4
        found[case] = outcome(whole), outcome(resumed)
    torch.save(found, Path(folder) / f"found-{rank}.pt")
    PartialState().destroy_process_group()
