"""What the arguments say reaches the terms of the loss."""

from collections.abc import Callable
from typing import Any

import torch

from exrep_hf.losses.embedding_queue import EmbeddingQueue

MakeTrainer = Callable[..., Any]


def test_terms_are_built_as_the_arguments_say(make_trainer: MakeTrainer) -> None:
    """A setting that is read but not passed on trains with the default, and results.json says otherwise."""
    settings: dict[str, Any] = {"temperature": 3.0, "momentum": 0.7, "crd_temperature": 0.2, "num_negatives": 5}
    objective = make_trainer(**settings, embedding_dim=6, critic_hidden_dim=9).distillation_objective
    assert objective.terms["kd"].loss.temperature == 3.0
    crd = objective.crd
    assert (crd.temperature, crd.num_negatives, crd.bank.momentum) == (0.2, 5, 0.7)
    assert crd.bank.student.shape == crd.bank.teacher.shape == (12, 6)
    assert (crd.student_embedding.in_features, crd.teacher_embedding.in_features) == (8, 12)
    critic = objective.adversarial.critic.state_dict()
    assert critic["layers.0.weight"].shape == (9, 12) and critic["layers.2.weight"].shape == (9, 9)
    assert objective.adversarial.projection.weight.shape == (12, 8)


def test_how_contrast_is_computed(make_trainer: MakeTrainer) -> None:
    crd = make_trainer().distillation_objective.crd
    assert (crd.share_negatives, crd.bank.teacher.dtype, crd.kernel) == (False, torch.float32, False)
    for queue_length in (None, 10):
        crd = make_trainer(
            crd_negatives="batch", crd_table_dtype="bfloat16", crd_kernel=True, queue_length=queue_length
        ).distillation_objective.crd
        assert (crd.share_negatives, crd.bank.teacher.dtype, crd.kernel) == (True, torch.bfloat16, True)


def test_a_queue_is_as_long_as_asked_for(make_trainer: MakeTrainer) -> None:
    """And has no row for each image."""
    crd = make_trainer(queue_length=10).distillation_objective.crd
    assert isinstance(crd.bank, EmbeddingQueue) and len(crd.bank.student) == 10


def test_processes_know_the_largest_batch(make_trainer: MakeTrainer) -> None:
    """A last batch that is smaller on one process would otherwise end the run, or mix up rows of the bank."""
    crd = make_trainer(per_device_train_batch_size=3).distillation_objective.crd
    assert crd.largest_batch == crd.bank.largest_batch == crd.negatives.largest_batch == 3
