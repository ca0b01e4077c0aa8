"""Tensors that belong to a module and follow its device, but are neither parameters nor buffers."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound="UnregisteredTensorModule")


class UnregisteredTensorModule(nn.Module):
    """Module whose plain tensor attributes follow its device and keep their dtype.

    Buffers would be broadcast by DistributedDataParallel at every forward and cast by `.half()`; a memory bank must
    suffer neither. Such tensors are not in `state_dict()`: their owner saves them.

    Attributes:
        on_host: names of those that stay on the CPU, where their values can be read without waiting for a device.
    """

    on_host: tuple[str, ...] = ()

    def _apply(self: _Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Module:
        super()._apply(fn, recurse)
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name not in self.on_host:
                # An empty tensor shows where `fn` moves things; what it casts them to is ignored.
                device = fn(torch.empty(0, device=value.device)).device
                setattr(self, name, value.to(device))
        return self
