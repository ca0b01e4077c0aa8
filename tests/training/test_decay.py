"""A learning rate that falls in steps of epochs, as the paper's does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from exrep_hf import DistillationArguments

MakeTrainer = Callable[..., Any]
# 12 images in batches of 4: three steps an epoch, and 7.2 of them are 2.4 epochs.
PAPER: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "decay_epochs": 2.4,
    "decay_rate": 0.97,
    "learning_rate": 0.003,
}


def rates_of(trainer: Any, resume: str | None = None) -> list[float]:
    """The learning rate of each step of a run."""
    rates, step = [], trainer.training_step

    def look(*args: Any, **kwargs: Any) -> Tensor:
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return step(*args, **kwargs)

    trainer.training_step = look
    trainer.train(resume_from_checkpoint=resume)
    return rates


def test_the_preset_is_the_paper_s_schedule() -> None:
    """×0.97 every 2.4 of 200 epochs."""
    args = DistillationArguments.from_preset("exrep-paper", output_dir="out")
    assert {name: getattr(args, name) for name in PAPER} == PAPER
    assert args.num_train_epochs == 200


def test_rates_by_epoch(make_trainer: MakeTrainer) -> None:
    """The first step from epoch 2.4 on has 0.97 of the rate, the first from 4.8 on 0.97 of that."""
    trainer = make_trainer(max_steps=24, **PAPER)
    rates = rates_of(trainer)
    expected = [0.003 * 0.97 ** (10 * step // 72) for step in range(24)]
    assert rates == pytest.approx(expected, rel=1e-12)
    epochs = [step / 3 for step in range(24)]
    assert {rate for epoch, rate in zip(epochs, rates, strict=True) if epoch < 2.4} == {0.003}
    first = next(rate for epoch, rate in zip(epochs, rates, strict=True) if epoch >= 2.4)
    second = next(rate for epoch, rate in zip(epochs, rates, strict=True) if epoch >= 4.8)
    assert (first, second) == (pytest.approx(0.003 * 0.97), pytest.approx(0.003 * 0.97**2))
    # Once more from the start: a schedule that went on would begin where it ended.
    assert rates_of(trainer)[0] == 0.003


def test_a_step_between_two_epochs_belongs_to_the_next(make_trainer: MakeTrainer) -> None:
    """Five steps an epoch: 2.4 epochs are twelve steps, which no rounding may make thirteen."""
    rates = rates_of(make_trainer(per_device_train_batch_size=2, max_steps=13, **PAPER | {"decay_epochs": 2.0}))
    assert rates == pytest.approx([0.003] * 12 + [0.003 * 0.97])


def test_a_share_of_all_steps(make_trainer: MakeTrainer) -> None:
    """2.4 of 200 epochs are 0.012, whatever the length: the rate ends where the paper's does."""
    rates = rates_of(make_trainer(max_steps=10, **PAPER | {"decay_epochs": 0.25, "decay_rate": 0.5}))
    assert rates == pytest.approx([0.003 * 0.5**times for times in (0, 0, 0, 1, 1, 2, 2, 2, 3, 3)])


def test_accumulated_batches_are_one_step(make_trainer: MakeTrainer) -> None:
    """An epoch of three batches has two steps of two batches each, the second of one."""
    rates = rates_of(make_trainer(gradient_accumulation_steps=2, max_steps=5, **PAPER | {"decay_epochs": 2}))[::2]
    assert rates[:2] == [0.003, 0.003]
    assert rates[-1] == pytest.approx(0.003 * 0.97)


def test_warm_up_and_the_critic_s_own_rate(make_trainer: MakeTrainer) -> None:
    """The decay multiplies what else there is of a schedule, for each group of parameters."""
    trainer = make_trainer(
        max_steps=12, critic_learning_rate=0.1, warmup_steps=4, **PAPER | {"lr_scheduler_type": "constant_with_warmup"}
    )
    trainer.create_optimizer_and_scheduler(12)
    found = []
    for _ in range(12):
        found.append([group["lr"] for group in trainer.optimizer.param_groups])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    factor = torch.tensor([min(1, step / 4) * 0.97 ** (10 * step // 72) for step in range(12)])[:, None]
    torch.testing.assert_close(torch.tensor(found), factor * torch.tensor([0.003, 0.003, 0.1]))


def test_a_resumed_run_has_the_same_rates(make_trainer: MakeTrainer, parameters: Callable[[Any], Any]) -> None:
    """The checkpoint holds how far the schedule is, not the schedule."""
    saving = {"save_strategy": "steps", "save_steps": 8, "max_steps": 16}
    whole = make_trainer(**saving, **PAPER)
    rates = rates_of(whole)
    resumed = make_trainer(**saving, **PAPER)
    checkpoint = f"{resumed.args.output_dir}/checkpoint-8"
    assert rates_of(resumed, checkpoint) == rates[8:]
    left, right = parameters(whole), parameters(resumed)
    assert all(torch.equal(left[name], right[name]) for name in left)
    # Another rate may be given on the way, from the next step on.
    steeper = make_trainer(**saving, **PAPER | {"decay_rate": 0.5})
    expected = [0.003 * 0.5 ** (10 * step // 72) for step in range(9, 16)]
    assert rates_of(steeper, checkpoint)[1:] == pytest.approx(expected)


def test_epochs_of_a_stream_are_not_known(make_trainer: MakeTrainer, make_images: Callable[[int], Any]) -> None:
    """A rate that never falls, as the whole run would count as one epoch."""
    stream = make_images(12).to_iterable_dataset()
    other = {"train_dataset": stream, "crd_weight": 0.0}
    with pytest.raises(
        ValueError, match="`decay_epochs` is 2.4, and how many images .* a share of all steps, below 1"
    ):
        make_trainer(**other, **PAPER)
    assert make_trainer(**other, **PAPER | {"decay_epochs": 0.012}).args.decay_epochs == 0.012
