"""What a model costs at inference."""

import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply–accumulate operations of one image's forward: convolutions and matrix products.

    Args:
        model: takes images as its first argument.
        input_size: `(channels, height, width)`.
    """
    was_training = model.training
    weight = next(model.parameters())
    image = torch.zeros(1, *input_size, device=weight.device, dtype=weight.dtype)
    with FlopCounterMode(display=False) as counter:
        model.eval()(image)
    model.train(was_training)
    return counter.get_total_flops() // 2


@torch.no_grad()
def images_per_second(
    model: nn.Module, input_size: tuple[int, int, int], batch_size: int = 32, seconds: float = 0.5
) -> float:
    """Throughput of the forward on the model's device, after a warm-up.

    Args:
        model: takes images as its first argument.
        input_size: `(channels, height, width)`.
        batch_size: images a forward.
        seconds: how long to measure at least.
    """
    was_training = model.training
    weight = next(model.parameters())
    device = weight.device
    images = torch.randn(batch_size, *input_size, device=device, dtype=weight.dtype)
    model.eval()
    for _ in range(2):
        model(images)
    _wait_for(device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        model(images)
        _wait_for(device)
        count += batch_size
    elapsed = time.perf_counter() - start
    model.train(was_training)
    return count / elapsed


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def inference_cost(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, float]:
    """Parameters, MACs an image and images a second of one model."""
    return {
        "parameters": count_parameters(model),
        "macs": count_macs(model, input_size),
        "images_per_second": images_per_second(model, input_size),
    }
