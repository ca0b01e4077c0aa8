"""One of two processes that store answers and train, with them and with the teacher: for `test_stored_answers.py`."""

from pathlib import Path

import torch

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from tests.settings import EVERY_TERM

from .conftest import PREPROCESSING, image_rows, network
from .test_stored_answers import ALL_TERMS, AUGMENTATION, MIXED, history, store


def run(rank: int, folder: str, case: str) -> None:
    """Write the histories of both."""
    changes = ALL_TERMS if case == "all terms" else MIXED
    args = DistillationArguments(
        output_dir=str(Path(folder) / "out"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        num_train_epochs=3,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        num_negatives=8,
        embedding_dim=8,
        critic_hidden_dim=8,
        views=2,
        **EVERY_TERM | changes,
    )
    assert args.world_size == 2
    images = image_rows(24)
    teacher = OnlineTeacher(network(seed=1, width=12), PREPROCESSING.to_image_processor())
    cached = store(teacher, images, Path(folder) / "answers", "float32", changes)
    histories = []
    for source in (teacher, cached):
        torch.manual_seed(2)
        student = ExRepForImageClassification.from_backbone(
            network(seed=3), distiller="light", distiller_channels=4, image_size=16
        )
        trainer = DistillationTrainer(
            student,
            source,
            args,
            images,
            augmentation=AUGMENTATION,
            processing_class=PREPROCESSING.to_image_processor(),
        )
        trainer.train()
        histories.append(history(trainer))
    torch.save(histories, Path(folder) / f"losses-{rank}.pt")
