"""One of several processes that train on images of which some have labels: for `test_partly_labelled.py`."""

from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import WithExtraImages
from tests.settings import EVERY_TERM

from .conftest import CLASSES, PREPROCESSING, TensorRows, image_rows, network

ROWS = 24
# Those of one process and of the other: a batch of either may have none.
LABELS = [row % CLASSES if row % 8 in (0, 1, 3) or row > 20 else -1 for row in range(ROWS)]


class PartlyLabelled(TensorRows):
    """Rows of which some have no label."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"labels": None if LABELS[index] < 0 else LABELS[index]}


EXTRA = WithExtraImages(image_rows(9), image_rows(14), 0.25)
STREAM = image_rows(21).to_iterable_dataset(num_shards=3)


def trainer_of(
    folder: Path, batch_size: int, images: Any = None, augmentation: Any = "preset", **changes: Any
) -> DistillationTrainer:
    settings: dict[str, Any] = EVERY_TERM | {
        "crd_weight": 0.0,
        "optim": "sgd",
        "learning_rate": 0.02,
        "critic_hidden_dim": 8,
        "max_steps": 6,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 0,
    }
    args = DistillationArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True,
        per_device_train_batch_size=batch_size, train_sampling_strategy="sequential", **settings | changes,
    )  # fmt: skip
    torch.manual_seed(2)
    return DistillationTrainer(
        ExRepForImageClassification.from_backbone(network(seed=3)),
        OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor()),
        args,
        images or PartlyLabelled(ROWS),
        augmentation=augmentation,
        processing_class=PREPROCESSING.to_image_processor(),
    )


def outcome(trainer: DistillationTrainer) -> dict[str, Any]:
    names = ("loss", "loss_ce", "loss_kd")
    history = [{name: entry[name] for name in names} for entry in trainer.state.log_history if "loss" in entry]
    return {"history": history, "student": trainer.student.state_dict()}


def run(rank: int, folder: str) -> None:
    """Write what this process has in the end, of an uninterrupted run and of one that goes on from a checkpoint."""
    whole = trainer_of(Path(folder) / "out", 4)
    whole.train()
    resumed = trainer_of(Path(folder) / "out", 4)
    resumed.train(resume_from_checkpoint=str(Path(folder) / "out" / "checkpoint-2"))
    torch.save([outcome(whole), outcome(resumed)], Path(folder) / f"found-{rank}.pt")
    for name, images in (("extra", EXTRA), ("stream", STREAM)):
        trainer = trainer_of(Path(folder) / name, 3, images, None)
        trainer.train()
        torch.save(outcome(trainer), Path(folder) / f"{name}-{rank}.pt")
    PartialState().destroy_process_group()
