"""A run that is ruined on its second process: what `test_finite.py` starts."""

import math
from pathlib import Path

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.finite import NonFiniteError

from .conftest import PREPROCESSING, TensorRows, network


def run(rank: int, folder: str, ruined: str) -> None:
    """Train with a checkpoint at each second step and a log at each fourth; write what was told, and fail."""
    from exrep_hf import DistillationArguments

    args = DistillationArguments(
        output_dir=str(Path(folder) / "out"), use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=4,
        save_strategy="steps", save_steps=2, save_total_limit=1, max_steps=6, per_device_train_batch_size=4,
        train_sampling_strategy="sequential", learning_rate=0.01, mixup=0.0, cutmix=0.0, kd_weight=1.0,
    )  # fmt: skip
    rows = TensorRows(64)
    if ruined == "image":
        # Of the third step's images 16 to 23 the second process has the latter half.
        rows.images[21] = math.nan
    trainer = DistillationTrainer(
        network(seed=3),
        OnlineTeacher(network(seed=1)),
        args,
        rows,
        processing_class=PREPROCESSING.to_image_processor(),
    )
    assert trainer.args.world_size == 2
    if ruined == "loss" and rank == 1:
        calls: list[int] = []

        def hook(module: object, inputs: object, output: object) -> object:
            calls.append(0)
            return output if len(calls) < 2 else output * math.inf  # type: ignore[operator]

        trainer.distillation_objective.terms["kd"].register_forward_hook(hook)
    try:
        trainer.train()
    except NonFiniteError as error:
        (Path(folder) / f"told-{rank}").write_text(str(error))
        raise
