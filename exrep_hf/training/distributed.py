"""BatchNorm's statistics on several processes."""

import torch
from torch import nn
from torch.distributed.distributed_c10d import broadcast
from torch.nn.modules.batchnorm import _BatchNorm


def broadcast_batch_statistics(module: nn.Module) -> None:
    """Give every process the first one's running means and variances, as DistributedDataParallel does.

    FSDP and DeepSpeed leave each process its own: what is evaluated would not be what is saved. Frozen statistics are
    equal already, and cost nothing here.

    Args:
        module: on each process; its BatchNorm layers in training mode count.
    """
    statistics = [
        value
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
        for value in (layer.running_mean, layer.running_var)
        if value is not None
    ]
    if statistics:
        joined = torch.cat([each.flatten() for each in statistics])
        broadcast(joined, src=0)
        for each, received in zip(statistics, joined.split([each.numel() for each in statistics]), strict=True):
            each.copy_(received.view_as(each))
