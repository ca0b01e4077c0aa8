"""What each process of `test_distributed.py` runs: a student under all terms, whose results it writes to a folder."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from conftest import PREPROCESSING, TensorRows, network
from torch import Tensor

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification, OnlineTeacher, Term
from exrep_hf.finite import NonFiniteError
from exrep_hf.losses.negatives import NegativeSampler
from tests.settings import EVERY_TERM
from tests.training.own_loss import Regression

ROWS = 64


def given_negatives(self: NegativeSampler, rows: Tensor | None, labels: Any, batch: int, number: int) -> Tensor:
    """Negatives that depend on the image alone, and not on which process has it."""
    first = torch.zeros(batch, dtype=torch.int64) if rows is None else rows
    return (7 * first.unsqueeze(1) + 3 * torch.arange(number) + 1) % len(self.labels)


def pretend_gpus() -> None:
    """Let accelerate shard on CPUs: it enables FSDP for types of accelerators alone."""
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    PartialState._shared_state["device"] = torch.device("cpu")


def refuses_weights(trainer: DistillationTrainer) -> bool:
    """Whether a weight that is not finite is found: of weights in parts, in one that the last process alone holds."""
    trainer.check_weights("as trained")
    if not trainer.backend_saves_model or trainer.args.process_index == trainer.args.world_size - 1:
        largest = max(trainer.local_weights().values(), key=Tensor.numel)
        largest[(0,) * largest.ndim] = math.nan
    try:
        trainer.check_weights("as spoilt")
    except NonFiniteError:
        return True
    return False


def run(folder: Path, settings: dict[str, Any], resume: bool, on_gpus: bool) -> None:
    """Train, evaluate, save; write facts, and the student as it is in memory where it is whole there."""
    torch.set_num_threads(1)
    NegativeSampler.draw = given_negatives  # type: ignore[method-assign, assignment]
    changes: dict[str, Any] = {
        "max_steps": 20,
        "crd_weight": 0.1,
        "feature_weight": 0.5,
        "optim": "sgd",
        "learning_rate": 0.02,
        "save_strategy": "no",
    } | settings
    args = DistillationArguments(
        output_dir=str(folder / "out"),
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        train_sampling_strategy="sequential",
        per_device_eval_batch_size=4,
        num_negatives=16,
        embedding_dim=8,
        critic_hidden_dim=8,
        critic_learning_rate=0.01,
        **EVERY_TERM | changes,
    )
    (folder / f"process-{args.process_index}").write_text(str(os.getpid()))
    if on_gpus:
        pretend_gpus()
    torch.manual_seed(2)
    student = ExRepForImageClassification.from_backbone(
        network(seed=3), distiller="light", distiller_channels=4, image_size=16
    )
    trainer = DistillationTrainer(
        student,
        OnlineTeacher(network(seed=1, width=12)),
        args,
        TensorRows(ROWS),
        processing_class=PREPROCESSING.to_image_processor(),
        terms={"own": Term(Regression(), 0.1)},
    )
    # Before training too: what is prepared for an evaluation must not be what is trained.
    for _ in range(2):
        trainer.evaluate(TensorRows(16))
    trainer.train(resume_from_checkpoint=resume or None)
    # 11 images can't be divided evenly, and the loader then repeats some of them.
    metrics = {"even": trainer.evaluate(TensorRows(16)), "uneven": trainer.evaluate(TensorRows(11))}
    trainer.save_model(str(folder / "student"))
    crd = trainer.distillation_objective.crd
    rank = trainer.args.process_index
    wrapper = trainer.model_wrapped
    facts = {
        "world_size": trainer.args.world_size,
        "distributed_type": str(trainer.accelerator.distributed_type),
        "wrapper": [cls.__name__ for cls in type(wrapper).__mro__],
        "history": [entry for entry in trainer.state.log_history if "loss" in entry],
        "metrics": metrics,
        "sent_buffers": sorted(name for name, _ in trainer.distillation_objective.named_buffers() if "bank" in name),
    }
    torch.save({} if crd is None else crd.bank_state(), folder / f"bank-{rank}.pt")
    whole = trainer.whole_student_state()
    if whole is not None:
        torch.save(whole, folder / f"student-{rank}.pt")
    facts["refuses_weights"] = refuses_weights(trainer)
    (folder / f"facts-{rank}.json").write_text(json.dumps(facts))
    # Threads of gloo that are still there when Python ends abort the process now and then.
    PartialState().destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--pretend_gpus", action="store_true")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    run(given.folder, given.settings, given.resume, given.pretend_gpus)
