"""What each process of `test_distributed.py` runs: five steps of a student whose results it writes to a folder."""

import json
import sys
from pathlib import Path

import torch
from conftest import PREPROCESSING, TensorRows, network
from torch.nn.parallel import DistributedDataParallel

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher


def run(folder: Path, batch_size: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(network(seed=3), distiller_channels=4, image_size=16)
    trainer = DistillationTrainer(
        student,
        OnlineTeacher(network(seed=1, width=12)),
        DistillationArguments(
            output_dir=str(folder / "out"),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
            save_strategy="no",
            max_steps=5,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=4,
            train_sampling_strategy="sequential",
            optim="sgd",
            learning_rate=0.02,
            crd_weight=0.0,
            adversarial_weight=0.0,
        ),
        TensorRows(64),
        processing_class=PREPROCESSING.to_image_processor(),
    )
    trainer.train()
    # 11 images can't be divided evenly, and the loader then repeats some of them.
    metrics = {"even": trainer.evaluate(TensorRows(16)), "uneven": trainer.evaluate(TensorRows(11))}
    rank = trainer.args.process_index
    facts = {
        "world_size": trainer.args.world_size,
        "distributed_type": str(trainer.accelerator.distributed_type),
        "wrapped": isinstance(trainer.model_wrapped, DistributedDataParallel),
        "history": [entry for entry in trainer.state.log_history if "loss" in entry],
        "metrics": metrics,
    }
    (folder / f"facts-{rank}.json").write_text(json.dumps(facts))
    torch.save(trainer.student.state_dict(), folder / f"student-{rank}.pt")


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
