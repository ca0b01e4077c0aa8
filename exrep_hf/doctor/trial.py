"""Steps of training that leave no trace."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from exrep_hf.data.checks import is_map_style
from exrep_hf.data.seeding import generators_kept
from exrep_hf.doctor.patient import Patient
from exrep_hf.training.launch import is_deepspeed
from exrep_hf.training.trainer import DistillationTrainer


@contextlib.contextmanager
def without_trace(patient: Patient) -> Iterator[None]:
    """Training mode in which weights, buffers, CRD's bank, modes and generators end as they were."""
    trainer = patient.trainer
    objective, device = trainer.distillation_objective, trainer.args.device
    nn.Module.to(objective, device)
    modes = [(module, module.training) for module in objective.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    feature = objective.feature
    was_standardised = feature is not None and feature.is_standardised
    devices = [device] if device.type == "cuda" else []
    try:
        with generators_kept(), torch.random.fork_rng(devices=devices):
            objective.train()
            if objective.crd is not None:
                # The bank, of perhaps gigabytes, moves in training mode alone.
                objective.crd.eval()
            if feature is not None and not was_standardised and patient.features is not None:
                deviation, mean = torch.std_mean(patient.features, dim=0, correction=0)
                feature.set_statistics(mean.to(device), deviation.to(device))
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        if feature is not None:
            feature.is_standardised = was_standardised
        for module, training in modes:
            module.training = training


def can_be_tried(trainer: DistillationTrainer) -> bool:
    """Return whether steps can be made here: rows can be chosen, and the networks are not a backend's to call."""
    dataset = trainer.train_dataset
    return is_map_style(dataset) and len(dataset) > 1 and not is_deepspeed(trainer.args)  # type: ignore[arg-type]


def training_batch(trainer: DistillationTrainer, images: int) -> dict[str, Tensor]:
    """Return a batch of training images on the device, spread over all, normalised and mixed."""
    dataset: Any = trainer.train_dataset
    count = max(2, min(images, len(dataset)))
    rows = (torch.arange(count) * len(dataset) // count).tolist()
    return trainer.mixed(trainer.batch_of([dataset[row] for row in rows]))


def losses_of(trainer: DistillationTrainer, batch: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the total, and each part of it, weighted, by name; all with gradients."""
    objective = trainer.distillation_objective
    with trainer.compute_loss_context_manager():
        output, _ = trainer.forward_batch(objective, batch)
    weights = objective.weights
    losses = {name.removeprefix("loss_"): value for name, value in (output.losses or {}).items()}
    return output.loss, {name: weights[name] * value for name, value in losses.items()}
