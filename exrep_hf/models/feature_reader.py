"""Logits and pooled features of any timm or Hugging Face classifier, in one forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .classifier_heads import count_labels, find_head, logits_of

_SEEN = "_exrep_seen_inputs"


def _keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    # Written to the module that runs, not to a shared object: a deep copy or a DataParallel replica keeps its own.
    asked = getattr(module, _SEEN)
    if asked is None:
        return None
    seen, drop_rate = asked
    # An inplace dropout would write into what is kept.
    seen.append(inputs[0].clone() if getattr(module, "inplace", False) else inputs[0])
    return (F.dropout(inputs[0], drop_rate), *inputs[1:]) if drop_rate else None


class FeatureReader:
    """Read the pooled features of a classifier, in the one forward that makes its logits.

    For timm's models these are `forward_head(forward_features(images), pre_logits=True)`, for transformers' what
    enters the final layer. Where heads have tokens of their own (DeiT and PiT with distillation) features are the
    tokens' mean, where they have branches of their own (CrossViT, EfficientViM) the branches side by side. A head's
    own normalisation (LeViT, EfficientViT-M, SHViT, RepViT) comes after them, and so does dropout in training.

    The reader keeps *names* and not the model, so it can be an attribute of a module without registering the model
    twice, and it goes on working on deep copies, compiled models and replicas.

    Args:
        model: a timm model with a classifier, or a Hugging Face `*ForImageClassification`. It gets a forward
            pre-hook at its head, which does nothing in forwards that don't ask for features.

    Attributes:
        layer_name: path of the final layer inside the model; of several, the first.
        layer_names: paths of all final layers.
        feature_dim: width of the features.
        num_labels: number of classes.

    Raises:
        ValueError: the model has no final classification layer, or its weights are elsewhere.
    """

    def __init__(self, model: nn.Module):
        self.num_labels = count_labels(model)
        self._head = find_head(model, self.num_labels)
        self.layer_names = self._head.layer_names
        self.layer_name = self.layer_names[0]
        self.feature_dim = self._head.feature_dim
        for name in self._head.read_at:
            module = model.get_submodule(name)
            setattr(module, _SEEN, None)
            # Several readers of one model share its hook.
            if _keep_input not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(_keep_input)

    def __call__(self, model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Run `model`, the one that this reader was made for or a copy of it, once.

        Args:
            model: the classifier.
            pixel_values: `(batch, channels, height, width)`.

        Returns:
            logits `(batch, num_labels)`, the mean of all heads, and features `(batch, feature_dim)`.

        Raises:
            ValueError: the model did not call its head.
        """
        seen: list[Tensor] = []
        network = getattr(model, "timm_model", model)
        drop_rate = network.drop_rate if self._head.drops_in_code else 0.0
        points = [model.get_submodule(name) for name in self._head.read_at]
        for module in points:
            setattr(module, _SEEN, (seen, drop_rate if network.training else 0.0))
        if drop_rate:
            # What the model drops in the code of its forward is dropped by the hook, after it was read.
            network.drop_rate = 0.0
        try:
            output = model(pixel_values)
        finally:
            # Nothing may stay behind: a kept tensor would hold the graph of this forward and break deep copies.
            for module in points:
                setattr(module, _SEEN, None)
            if drop_rate:
                network.drop_rate = drop_rate
        if not seen:
            raise ValueError(
                f"{type(model).__name__} did not call its layer `{self._head.read_at[0]}` in this forward, so it has "
                "no features to read; expected a classifier whose last layer makes the logits."
            )
        return logits_of(output), self._joined(model, seen)  # (batch, num_labels), (batch, feature_dim)

    def detach_from(self, model: nn.Module) -> None:
        """Leave `model` as it was before a reader was made for it."""
        for name in self._head.read_at:
            module = model.get_submodule(name)
            for key, hook in list(module._forward_pre_hooks.items()):
                if hook is _keep_input:
                    del module._forward_pre_hooks[key]
            delattr(module, _SEEN)

    def _joined(self, model: nn.Module, seen: list[Tensor]) -> Tensor:
        is_conv = isinstance(model.get_submodule(self.layer_name), nn.Conv2d)
        # Later ones are other tokens on the same way, as VOLO's are.
        seen = seen[: len(self.layer_names)]
        if self._head.first_token:
            seen = [tokens[:, 0] for tokens in seen]
        pooled = [_pool(features, is_conv) for features in seen]
        if self._head.concatenated:
            return torch.cat(pooled, dim=1)
        return sum(pooled) / len(pooled) if len(pooled) > 1 else pooled[0]  # type: ignore[return-value]


def _pool(features: Tensor, channels_first: bool) -> Tensor:
    """Average over space or tokens: `(batch, dim, ...)` or `(batch, ..., dim)` to `(batch, dim)`."""
    if features.ndim == 2:
        return features
    # A dropout may stand before the layer that flattens a map of one pixel.
    if channels_first or features.shape[2:].numel() == 1:
        return features.flatten(2).mean(2)
    # Where the head is applied to each position, its mean is the head of the mean: both are linear.
    return features.flatten(1, -2).mean(1)
