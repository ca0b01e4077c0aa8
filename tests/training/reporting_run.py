"""A run that logs and evaluates, alone or as one of two processes: for `test_reports.py`."""

import json
from pathlib import Path

import torch

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, TensorRows, network


def run(rank: int, folder: str, processes: int) -> None:
    """Write what is reported of the terms that know no random negatives."""
    args = DistillationArguments(
        output_dir=str(Path(folder) / f"out-{processes}"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=2,
        save_strategy="no",
        max_steps=4,
        per_device_train_batch_size=4 // processes,
        per_device_eval_batch_size=4 // processes,
        learning_rate=1e-3,
        # Statistics of a batch, which are those of one process, are frozen.
        **EVERY_TERM | {"crd_weight": 0, "adversarial_weight": 0},
    )
    assert args.world_size == processes
    teacher = OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor())
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(network(seed=3), "light", distiller_channels=4, image_size=16)
    trainer = DistillationTrainer(student, teacher, args, TensorRows(16), TensorRows(12))
    trainer.train()
    trainer.evaluate()
    # With two processes the last batch is filled up with images that must not count.
    trainer.evaluate(TensorRows(11), metric_key_prefix="odd")
    reported = [
        {name: value for name, value in entry.items() if name.startswith(("loss", "eval_", "odd_"))}
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]
    (Path(folder) / f"reported-{processes}-{rank}.json").write_text(json.dumps(reported))
