"""Which parameters of a student are decayed."""

import fnmatch
from collections.abc import Iterator

from torch import nn

# Their weights are looked up or scale, where those of other layers are multiplied with each other.
_UNDECAYED_LAYERS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)


def decayed_parameters(student: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that weight decay is good for: the weights of a student's linear and convolutional layers.

    Left out are parameters of one dimension (biases, scales of norms), tokens, position embeddings, temperatures and
    other parameters that are no layer's `weight`, and what a timm model lists in its `no_weight_decay()`.
    """
    listed = {id(parameter) for parameter in _listed(student)}
    decayed = set()
    for module in student.modules():
        if isinstance(module, _UNDECAYED_LAYERS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            # DeepSpeed's parts have one dimension, whatever they are parts of.
            dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
            if dimensions > 1 and "weight" in name and id(parameter) not in listed:
                decayed.add(parameter)
    return decayed


def _listed(student: nn.Module) -> Iterator[nn.Parameter]:
    """Walk through the parameters that models list as not to be decayed: by names, patterns, or names of layers."""
    for module in student.modules():
        lists = getattr(module, "no_weight_decay", None)
        if not callable(lists):
            continue
        patterns = list(lists())
        for name, parameter in module.named_parameters():
            if any(fnmatch.fnmatch(name, each) or name.startswith(f"{each}.") for each in patterns):
                yield parameter
