"""Products of float32 matrices in float32, whatever the run has set for its networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply without rounding to TF32 or bfloat16 inside; the run's own settings are back afterwards.

    For code that runs as it stands: within a graph of `torch.compile` wrap it in a custom operator.
    """
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, setting in zip(backends, before, strict=True):
                # One that followed the setting for all goes on to do so.
                backend.fp32_precision = "none"
                if backend.fp32_precision != setting:
                    backend.fp32_precision = setting
        return
    # Until torch 2.8 there is one setting for all.
    setting = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.set_float32_matmul_precision(setting)
