"""What is random in a step: negatives, mixtures, dropped residuals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from exrep_hf import DistillationTrainer

MakeTrainer = Callable[..., Any]


def record_draws(trainer: DistillationTrainer) -> list[float]:
    """What each training batch would draw first, filled as the trainer goes."""
    drawn: list[float] = []
    compute_loss = trainer.compute_loss

    def drawing(*args: Any, **kwargs: Any) -> Any:
        drawn.append(float(torch.rand(())))
        return compute_loss(*args, **kwargs)

    trainer.compute_loss = drawing  # type: ignore[method-assign]
    return drawn


def test_draws_follow_from_seed_and_step_alone(make_trainer: MakeTrainer) -> None:
    """A loader or a metric that moves a generator must not change a run, nor resuming it."""
    draws = []
    for seed, moved in ((0, 0), (0, 13), (1, 0)):
        trainer = make_trainer(gradient_accumulation_steps=2, seed=seed)
        draws.append(record_draws(trainer))
        torch.rand(moved)
        trainer.train()
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == len(draws[0]) > 4, "every batch of an accumulation draws anew"
    assert not set(draws[0]) & set(draws[2])


def test_steps_leave_the_generator_alone(make_trainer: MakeTrainer) -> None:
    """The order of images is drawn from it, and has to be the same on all processes."""
    trainer = make_trainer()
    batch = next(iter(trainer.get_train_dataloader()))
    before = torch.get_rng_state()
    trainer.training_step(trainer.model, batch)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("process", [0, 1])
def test_processes_draw_differently(process: int, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same boxes and shares of mixtures on all processes are fewer mixtures."""
    one, other = make_trainer(), make_trainer()
    draws = record_draws(one), record_draws(other)
    batch = next(iter(one.get_train_dataloader()))
    one.training_step(one.model, dict(batch))
    monkeypatch.setattr(type(other.args), "process_index", process)
    other.training_step(other.model, dict(batch))
    assert (draws[0] == draws[1]) is (process == 0)
