"""Float32 weights, from the first step to what is saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from exrep_hf.models import to_float32


def train_in_float32(model: Any) -> list[str]:
    """Turn a student's weights in half precision into float32, in place.

    Args:
        model: what was passed as the student: a name has no weights yet.

    Returns:
        A line to print where anything was changed: the model is the caller's.
    """
    found = to_float32(model) if isinstance(model, nn.Module) else ()
    if not found:
        return []
    half = " and ".join(str(dtype).removeprefix("torch.") for dtype in found)
    return [
        f"the student's weights were {half} and are float32 now, in the model that was passed: in half precision most "
        "of them would not move. `bf16` and `fp16` compute in half precision all the same"
    ]


@contextmanager
def weights_kept(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Give a model its own weights back after `bf16_full_eval` and `fp16_full_eval`, which round them for good.

    Args:
        model: that is evaluated.
        wanted: False does nothing.
    """
    parameters = [(parameter, parameter.data) for parameter in model.parameters()] if wanted else []
    modules = list(model.modules()) if wanted else []
    buffers = [(module, dict(module._buffers)) for module in modules]
    try:
        yield
    finally:
        for parameter, data in parameters:
            parameter.data = data.to(parameter.device)
        for module, own in buffers:
            for name, buffer in own.items():
                current = module._buffers[name]
                if buffer is not None and current is not None:
                    module._buffers[name] = buffer.to(current.device)
