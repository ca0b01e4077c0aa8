"""How large a teacher is."""

import torch
from torch import nn

from exrep_hf.teacher.source import TeacherSource


def size_in_words(teacher: TeacherSource) -> str | None:
    """Return parameters, types and memory of a teacher's networks; on CUDA also what is allocated there in all.

    None where it has no networks, only answers.
    """
    networks = list(teacher.networks())
    if not networks:
        return None
    tensors = {id(each): each for network in networks for each in (*network.parameters(), *network.buffers())}
    parameters = sum(each.numel() for each in tensors.values() if isinstance(each, nn.Parameter))
    dtypes = sorted({str(each.dtype).removeprefix("torch.") for each in tensors.values() if each.is_floating_point()})
    memory = sum(each.numel() * each.element_size() for each in tensors.values())
    told = f"teacher: {parameters / 1e6:.1f} M parameters in {', '.join(dtypes)}, {_gib(memory)}"
    on_gpu = {each.device for each in tensors.values() if each.is_cuda}
    for device in sorted(on_gpu, key=str):
        told += f"; {_gib(torch.cuda.memory_allocated(device))} allocated on {device}"
    return told


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
