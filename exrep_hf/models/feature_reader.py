"""Logits and pooled features of any timm or Hugging Face classifier, in one forward."""

from torch import Tensor, nn
from transformers import PreTrainedModel

_SEEN = "_exrep_seen_inputs"


def _keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    # Written to the module that runs, not to a shared object: a deep copy or a DataParallel replica keeps its own.
    seen = getattr(module, _SEEN)
    if seen is not None:
        seen.append(inputs[0])


class FeatureReader:
    """Read the pooled features of a classifier: what enters its final layer.

    The reader keeps the *name* of that layer and not the model, so it can be an attribute of a module without
    registering the model twice, and it goes on working on deep copies, compiled models and replicas.

    In `eval()` the features are exact. In `train()` they pass through the dropout that stands between pooling and
    classifier where the model has one (timm: `drop_rate`), as the logits of the same forward do.

    Args:
        model: a timm model with a classifier, or a Hugging Face `*ForImageClassification`. It gets a forward
            pre-hook on its final layer, which does nothing in forwards that don't ask for features.

    Attributes:
        layer_name: path of the final layer inside the model.
        feature_dim: width of the features.
        num_labels: number of classes.

    Raises:
        ValueError: the model has no final classification layer, or its weights are elsewhere.
    """

    def __init__(self, model: nn.Module):
        self.num_labels = _num_labels(model)
        self.layer_name = _final_layer_name(model, self.num_labels)
        layer = model.get_submodule(self.layer_name)
        weight = layer.get_parameter("weight")
        if weight.numel() == 0:
            raise ValueError(
                f"The weights of {type(model).__name__} were split by DeepSpeed ZeRO-3 when it was loaded, and none "
                "are left here. Load it before the training arguments are made, or give its name instead."
            )
        # Both kinds of layer store `(outputs, inputs, ...)`.
        self.feature_dim = weight.shape[1]
        setattr(layer, _SEEN, None)
        # Several readers of one model share its hook.
        if _keep_input not in layer._forward_pre_hooks.values():
            layer.register_forward_pre_hook(_keep_input)

    def __call__(self, model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Run `model`, the one that this reader was made for or a copy of it, once.

        Args:
            model: the classifier.
            pixel_values: `(batch, channels, height, width)`.

        Returns:
            logits `(batch, num_labels)` and features `(batch, feature_dim)`.
        """
        layer = model.get_submodule(self.layer_name)
        seen: list[Tensor] = []
        setattr(layer, _SEEN, seen)
        output = model(pixel_values)
        # Nothing may stay behind: a kept tensor would hold the whole graph of this forward and break deep copies.
        setattr(layer, _SEEN, None)
        if not seen:
            raise ValueError(
                f"{type(model).__name__} did not call its layer `{self.layer_name}` in this forward, so it has no "
                "features to read; expected a classifier whose last layer makes the logits."
            )
        logits = getattr(output, "logits", output)
        # A distilled timm transformer gives both heads' logits in training mode.
        logits = logits[0] if isinstance(logits, tuple) else logits
        return logits, _pool(seen[0], isinstance(layer, nn.Conv2d))  # (batch, num_labels), (batch, feature_dim)

    def detach_from(self, model: nn.Module) -> None:
        """Leave `model` as it was before a reader was made for it."""
        layer = model.get_submodule(self.layer_name)
        for key, hook in list(layer._forward_pre_hooks.items()):
            if hook is _keep_input:
                del layer._forward_pre_hooks[key]
        delattr(layer, _SEEN)


def _pool(features: Tensor, channels_first: bool) -> Tensor:
    """Average over space or tokens: `(batch, dim, ...)` or `(batch, ..., dim)` to `(batch, dim)`."""
    if channels_first:
        return features.flatten(2).mean(2)
    # Where the head is applied to each position, its mean is the head of the mean: both are linear.
    return features.flatten(1, -2).mean(1) if features.ndim > 2 else features


def _num_labels(model: nn.Module) -> int:
    if isinstance(model, PreTrainedModel):
        return model.config.num_labels or 0
    return getattr(model, "num_classes", 0)


def _final_layer_name(model: nn.Module, num_labels: int) -> str:
    get_classifier = getattr(getattr(model, "timm_model", model), "get_classifier", None)
    head = model
    if get_classifier is not None:
        head = get_classifier()
        # A distilled transformer has two heads, and its logits are their mean; the first is the ordinary one.
        head = head[0] if isinstance(head, tuple) else head
    elif not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"{type(model).__name__} is neither a timm model nor a Hugging Face classifier: it has no "
            "`get_classifier()`. Use a name such as 'timm/resnet18.a1_in1k', or a `*ForImageClassification` model."
        )
    names = {module: name for name, module in model.named_modules()}
    # A head may hold more layers of that width, such as a hidden one; the last makes the logits.
    found = [module for module in head.modules() if _is_classifier(module, num_labels)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no final classification layer (expected a Linear or 1x1 Conv2d with "
            f"{num_labels} outputs). Build it with its classes: `num_classes=` in timm, `num_labels=` and a "
            "`*ForImageClassification` class in transformers."
        )
    return names[found[-1]]


def _is_classifier(module: nn.Module, num_labels: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == num_labels
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == num_labels
