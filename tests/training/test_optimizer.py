"""Parameter groups of critic and student."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exrep_hf import DistillationArguments
from exrep_hf.training.checkpoints import MANIFEST_NAME
from exrep_hf.training.optimizer import GROUPS_NAME

MakeTrainer = Callable[..., Any]


def names_by_group(trainer: Any) -> list[set[str]]:
    names = {parameter: name for name, parameter in trainer.distillation_objective.named_parameters()}
    return [{names[parameter] for parameter in group["params"]} for group in trainer.optimizer.param_groups]


def test_critic_has_its_own_learning_rate(make_trainer: MakeTrainer) -> None:
    """A critic at the student's rate, or with weight decay, learns at another pace than asked for."""
    trainer = make_trainer(learning_rate=1e-2, critic_learning_rate=3e-3, weight_decay=0.1)
    plain = make_trainer(learning_rate=1e-2, weight_decay=0.1)
    for each in (trainer, plain):
        each.create_optimizer()
    groups = trainer.optimizer.param_groups
    assert [group["lr"] for group in groups] == [1e-2, 1e-2, 3e-3]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.0]
    decayed, others, critic = names_by_group(trainer)
    assert critic == {name for name, _ in trainer.distillation_objective.named_parameters() if ".critic." in name}
    assert len(critic) == 6
    # Apart from the critic, the groups are what they are without a rate for it.
    assert [decayed, others | critic] == names_by_group(plain)


@pytest.mark.parametrize("layouts", [(True, False), (False, True)])
def test_a_run_may_go_on_in_another_memory_layout(
    layouts: tuple[bool, bool], make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """The fused AdamW of CPUs pairs weights with the moments of others: in silence, as both are of one size."""
    weights = []
    for first, second in [layouts, (layouts[0], layouts[0])]:
        settings = {"output_dir": str(tmp_path / f"{second}"), "save_strategy": "steps", "save_steps": 3}
        settings |= {"max_steps": 6, "optim": "adamw_torch_fused", "learning_rate": 1e-2}
        make_trainer(**settings, channels_last=first).train()
        trainer = make_trainer(**settings, channels_last=second)
        trainer.train(resume_from_checkpoint=str(tmp_path / f"{second}" / "checkpoint-3"))
        weights.append({name: value.clone() for name, value in trainer.student.state_dict().items()})
    changed, same = weights
    assert any(value.ndim == 4 and value.shape[1] > 1 and value.shape[2] > 1 for value in same.values())
    for name, value in same.items():
        torch.testing.assert_close(changed[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_checkpoint_with_other_groups(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """State of another group's parameters would be torch's error about sizes, or be taken for this one's."""
    trainer = make_trainer(max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    checkpoint = tmp_path / "out" / "checkpoint-1"
    sizes = [len(group["params"]) for group in trainer.optimizer.param_groups]
    assert json.loads((checkpoint / GROUPS_NAME).read_text()) == {"sizes": sizes}
    told = rf"is of \[{sizes[0]}, {sizes[1]}\] parameters by group, and this run .* \[.*, 6\] by group\. Resume with"
    with pytest.raises(ValueError, match=told):
        make_trainer(max_steps=2, critic_learning_rate=1e-3).train(resume_from_checkpoint=str(checkpoint))
    # As checkpoints were written when other parameters were decayed.
    (checkpoint / GROUPS_NAME).unlink()
    manifest = json.loads((checkpoint / MANIFEST_NAME).read_text())
    del manifest["files"][GROUPS_NAME], manifest["sha256"]
    (checkpoint / MANIFEST_NAME).write_text(json.dumps(manifest))
    told = "is of other parameters by group, and this run decays .*start again in another"
    with pytest.raises(ValueError, match=told):
        make_trainer(max_steps=2).train(resume_from_checkpoint=str(checkpoint))


def test_groups_of_an_optimizer_of_ones_own(make_trainer: MakeTrainer) -> None:
    """A run goes on with its own optimizer's groups, not with those that would have been made."""
    student = make_trainer().student
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    trainer = make_trainer(model=student, optimizers=(optimizer, None))
    assert trainer.group_sizes() == [len(list(student.parameters()))]


@pytest.mark.parametrize("changes", [{}, {"critic_learning_rate": 1e-3}, {"crd_weight": 0.0, "weight_decay": 0.1}])
def test_groups_are_known_before_they_are_made(changes: dict[str, Any], make_trainer: MakeTrainer) -> None:
    """What a checkpoint is refused by has to be what its optimizer holds."""
    trainer = make_trainer(**changes)
    next(trainer.student.parameters()).requires_grad_(False)
    planned = trainer.group_sizes()
    assert planned == [len(group["params"]) for group in trainer.create_optimizer().param_groups]


def test_no_group_is_empty(make_trainer: MakeTrainer) -> None:
    """Some optimizers and backends fail on a group without parameters."""
    trainer = make_trainer(critic_learning_rate=3e-3, crd_weight=0.0)
    for name, parameter in trainer.distillation_objective.named_parameters():
        parameter.requires_grad_(".critic." in name or name.endswith("weight") and "norm" not in name)
    trainer.create_optimizer()
    assert all(group["params"] for group in trainer.optimizer.param_groups)


def test_scheduler_applies_to_both(make_trainer: MakeTrainer) -> None:
    """A critic whose rate stays while the student's falls wins in the end."""
    trainer = make_trainer(learning_rate=1e-2, critic_learning_rate=4e-2, lr_scheduler_type="linear", max_steps=4)
    rates: list[list[float]] = []
    step = trainer.training_step

    def look(*args: Any, **kwargs: Any) -> Tensor:
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        return step(*args, **kwargs)

    trainer.training_step = look
    trainer.train()
    falling = torch.tensor([1.0, 0.75, 0.5, 0.25])[:, None]
    expected = falling * torch.tensor([1e-2, 1e-2, 4e-2])
    torch.testing.assert_close(torch.tensor(rates), expected)


def test_critic_moves_at_its_rate(make_trainer: MakeTrainer) -> None:
    """With plain SGD and one step, the critic's change is its gradient times its rate, the student's unchanged."""
    moves = []
    for rate in (None, 1e-1):
        trainer = make_trainer(optim="sgd", learning_rate=1e-3, critic_learning_rate=rate, max_steps=1)
        before = {name: value.clone() for name, value in trainer.distillation_objective.state_dict().items()}
        trainer.train()
        after = trainer.distillation_objective.state_dict()
        moves.append({name: after[name] - value for name, value in before.items() if value.is_floating_point()})
    same, faster = moves
    critic = "terms.adversarial.loss.critic.layers.2.weight"
    assert same[critic].abs().max() > 0
    torch.testing.assert_close(faster[critic], 100 * same[critic], rtol=1e-2, atol=1e-5)
    for name in same:
        if ".critic." not in name:
            assert torch.equal(same[name], faster[name]), name


def test_own_optimizer_and_a_rate_for_the_critic_contradict(make_trainer: MakeTrainer) -> None:
    """A rate that is silently ignored is worse than an error."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="`critic_learning_rate` is 0.1 and `optimizers` was given; expected one"):
        make_trainer(optimizers=(optimizer, None), critic_learning_rate=0.1)


def test_one_process_with_several_gpus(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """DataParallel copies the trained module at each step, and what the copies store is lost."""
    monkeypatch.setattr(DistillationArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match="One process sees 2 GPUs; expected one process a GPU.*accelerate launch"):
        make_trainer()
