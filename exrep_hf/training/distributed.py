"""What is gathered batch by batch, BatchNorm's statistics above all, on several processes."""

import torch
from torch import nn
from torch.distributed.distributed_c10d import broadcast
from torch.nn.modules.batchnorm import _BatchNorm


def broadcast_batch_statistics(module: nn.Module) -> None:
    """Give every process the first one's buffers, as DistributedDataParallel does before each forward.

    FSDP and DeepSpeed leave each process its own: what is evaluated would not be what is saved. Frozen statistics of
    BatchNorm are equal already, and cost nothing here.

    Args:
        module: on each process; its floating-point buffers count, those of terms of the user's among them.
    """
    statistics = [
        value
        for layer in module.modules()
        if layer.training or not isinstance(layer, _BatchNorm)
        for value in layer.buffers(recurse=False)
        if value.is_floating_point()
    ]
    if statistics:
        joined = torch.cat([each.flatten() for each in statistics])
        broadcast(joined, src=0)
        for each, received in zip(statistics, joined.split([each.numel() for each in statistics]), strict=True):
            each.copy_(received.view_as(each))
