"""A Trainer whose optimizer has the right groups of parameters."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader

from exrep_hf.files import write_json
from exrep_hf.training.decay import decay_in_steps
from exrep_hf.training.saving import StudentTrainer
from exrep_hf.training.weight_decay import decayed_parameters

GROUPS_NAME = "parameter_groups.json"


class GroupingTrainer(StudentTrainer):
    """Decays what decay is good for, and gives the critic a learning rate of its own.

    The Trainer decays every parameter that isn't a bias or in a norm by its name, which the scales of most batch norms
    and all position embeddings are not.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given_groups = None if self.optimizer is None else _sizes(self.optimizer)
        self._steps_of_epoch: int | None = None

    def write_additions(self, checkpoint: str) -> None:
        """Write the sizes of the optimizer's groups too: its state is stored by group, and by place in it."""
        super().write_additions(checkpoint)
        if self.args.should_save:
            write_json({"sizes": self.group_sizes()}, Path(checkpoint) / GROUPS_NAME)

    def load_additions(self, checkpoint: str) -> None:
        """Make sure that the optimizer's state in a checkpoint is of the groups that there are.

        Raises:
            ValueError: if it is of others, with the sizes of both.
        """
        super().load_additions(checkpoint)
        path, now = Path(checkpoint) / GROUPS_NAME, self.group_sizes()
        written = json.loads(path.read_text(encoding="utf-8"))["sizes"] if path.is_file() else "other"
        if written != now:
            raise ValueError(
                f"The optimizer's state in the checkpoint {checkpoint!r} is of {written} parameters by group, and "
                f"this run decays and trains {now} by group. Resume with the version, the optimizer, the frozen "
                "parameters and the `critic_learning_rate` that it was written with, or start again in another "
                "`output_dir`."
            )

    def begin(self) -> None:
        """Lay the optimizer's state out as the parameters are, which may have another memory layout than they had.

        PyTorch's fused optimizers on CPUs (2.15) pair the numbers of a parameter and of its state by their places in
        memory, whatever the strides.
        """
        super().begin()
        for parameter, state in self.optimizer.state.items() if self.optimizer is not None else ():
            for name, value in state.items() if isinstance(parameter, Tensor) else ():
                is_like = isinstance(value, Tensor) and value.shape == parameter.shape
                if is_like and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def group_sizes(self) -> list[int]:
        """Return the number of parameters of each group of the optimizer, also before it is made."""
        return self._given_groups or self._planned_groups()

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

    def set_initial_training_values(self, args: Any, dataloader: DataLoader) -> Any:
        """Take note of how many steps an epoch has: a schedule may follow epochs."""
        values = super().set_initial_training_values(args, dataloader)
        self._steps_of_epoch = values[1]
        return values

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Let the learning rate fall in steps too, with `decay_epochs`."""
        created_here, epochs = self.lr_scheduler is None, self.args.decay_epochs
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        # Constant schedules are of this kind, and with others the rate of decay is 1.
        if created_here and epochs is not None and isinstance(scheduler, LambdaLR):
            if self._steps_of_epoch is None:
                self.set_initial_training_values(self.args, self.get_train_dataloader())
            assert self._steps_of_epoch is not None
            steps = epochs * (num_training_steps if epochs < 1 else self._steps_of_epoch)
            decay_in_steps(scheduler, self.args.decay_rate, steps)
        return scheduler

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
