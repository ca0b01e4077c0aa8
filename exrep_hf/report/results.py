"""`results.json`: what a run was and what came out; cards, tables and pictures are made from it alone."""

import os

import torch

RESULTS_NAME = "results.json"


def device_name(device: torch.device) -> str:
    """Name the device a figure was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({os.cpu_count()} cores)" if device.type == "cpu" else device.type
