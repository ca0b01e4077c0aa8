"""Plain tensors of a module: they follow its device and nothing else."""

import copy

import pytest
import torch
from torch import Tensor, nn

from exrep_hf.losses.unregistered_tensors import UnregisteredTensorModule


class _Holder(UnregisteredTensorModule):
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.table = torch.arange(3.0)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_casts_leave_plain_tensors_alone(cast: str) -> None:
    """A bank in half precision would lose its momentum updates in rounding."""
    outer = nn.Sequential(_Holder())
    getattr(outer, cast)()
    holder = outer[0]
    assert isinstance(holder, _Holder)
    assert holder.weight.dtype != torch.float32
    assert holder.table.dtype == torch.float32
    torch.testing.assert_close(holder.table, torch.arange(3.0))


def test_plain_tensors_follow_the_device() -> None:
    """A bank left on the CPU would fail at the first step, or be copied at every one."""
    outer = nn.Sequential(_Holder()).to("meta")
    holder = outer[0]
    assert isinstance(holder, _Holder)
    assert holder.table.device.type == "meta" and holder.weight.device.type == "meta"


def test_plain_tensors_are_neither_buffers_nor_saved() -> None:
    """As a buffer the bank would be broadcast by DDP at every step and published with the model."""
    holder = _Holder()
    assert list(holder.state_dict()) == ["weight"]
    assert not list(holder.buffers())
    clone = copy.deepcopy(holder)
    clone.table += 1
    torch.testing.assert_close(holder.table, torch.arange(3.0))
