"""A Trainer whose optimizer has the right groups of parameters."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from exrep_hf.training.saving import StudentTrainer
from exrep_hf.training.weight_decay import decayed_parameters


class GroupingTrainer(StudentTrainer):
    """Decays what decay is good for, and gives the critic a learning rate of its own.

    The Trainer decays every parameter that isn't a bias or in a norm by its name, which the scales of most batch norms
    and all position embeddings are not.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given_groups = None if self.optimizer is None else _sizes(self.optimizer)

    def run_facts(self) -> dict[str, Any]:
        """Add the sizes of the optimizer's groups: its state is stored by group, and by place in it."""
        return super().run_facts() | {"parameter_groups": self._given_groups or self._planned_groups()}

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return what is decayed of the student; of what is trained beside it nothing is."""
        decayed = decayed_parameters(self.student)
        return [name for name, parameter in model.named_parameters() if parameter in decayed]

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Give the critic a parameter group of its own, with `critic_learning_rate`."""
        created_here = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if not created_here:
            return optimizer
        critic = self._critic_of_own_rate()
        for group in list(optimizer.param_groups):
            moved = [parameter for parameter in group["params"] if parameter in critic]
            if moved:
                group["params"] = [parameter for parameter in group["params"] if parameter not in critic]
                optimizer.add_param_group({**group, "params": moved, "lr": self.args.critic_learning_rate})
        # Some optimizers and backends fail on a group without parameters.
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        return optimizer

    def _critic_of_own_rate(self) -> set[nn.Parameter]:
        adversarial = self.distillation_objective.adversarial
        if adversarial is None or self.args.critic_learning_rate is None:
            return set()
        return set(adversarial.critic.parameters())

    def _planned_groups(self) -> list[int]:
        """Return the sizes of the groups that `create_optimizer` makes."""
        critic, decayed = self._critic_of_own_rate(), decayed_parameters(self.student)
        sizes = {"decayed": 0, "others": 0, "critic": 0}
        for parameter in self.distillation_objective.parameters():
            if parameter.requires_grad:
                sizes["critic" if parameter in critic else "decayed" if parameter in decayed else "others"] += 1
        return [size for size in sizes.values() if size]


def _sizes(optimizer: Optimizer) -> list[int]:
    return [len(group["params"]) for group in optimizer.param_groups]
