"""Short names for teachers: one is told from another by its weights."""

import hashlib
from collections.abc import Iterable

import torch
from torch import nn

from exrep_hf.models import feature_definition
from exrep_hf.teacher.source import TeacherSource

# Of each weight tensor: a large teacher is told from another without reading all of it.
_HASHED_VALUES = 1024


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of the names, shapes and first values of all weights, 16 hexadecimal digits.

    For a network that pools its features by itself it is another than for one whose last layer's input they are.
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.flatten()[:_HASHED_VALUES].cpu().double().numpy().tobytes())
    digest.update((feature_definition(network) or "").encode())
    return digest.hexdigest()[:16]


def network_sha256(network: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes and all values of the weights."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def teacher_sha256(teacher: TeacherSource) -> str | None:
    """Return a hash of all that a teacher's answers follow from; None where it has neither weights nor a fingerprint.

    That is the hash of its weights, if it is one network and nothing else.
    """
    networks, fingerprint = list(teacher.networks()), teacher.fingerprint
    hashes = [network_sha256(network) for network in networks]
    if len(networks) == 1 and fingerprint in (None, network_fingerprint(networks[0])):
        return hashes[0]
    return joined_fingerprint([*hashes, fingerprint or ""]) if hashes else fingerprint


def joined_fingerprint(parts: Iterable[str]) -> str:
    """Return one name for several in their order, 16 hexadecimal digits."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
