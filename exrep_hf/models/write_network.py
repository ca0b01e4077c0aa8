"""Writing a network as `from_pretrained` loads it, for everybody who may read the folder."""

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


def write_network(
    network: PreTrainedModel, processor: Any, folder: str | Path, state_dict: dict[str, Tensor] | None = None
) -> None:
    """Write weights, configuration and image processor.

    Args:
        network: what to write.
        processor: its image processor; None: none is written.
        folder: to write to.
        state_dict: the weights, where the network itself does not hold them.
    """
    network.save_pretrained(folder, state_dict=state_dict)
    # safetensors makes files that their owner alone may read, on a disk that a team shares as well.
    for weights in Path(folder).glob("*.safetensors"):
        shutil.copymode(Path(folder) / "config.json", weights)
    if processor is not None:
        processor.save_pretrained(folder)
