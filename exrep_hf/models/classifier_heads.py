"""Where a classifier's pooled features enter the layers that make its logits."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

# Blocks that normalise what is pooled before their own linear layer, in timm and in transformers.
_NORMED_LINEAR = ("NormLinear", "LevitClassificationLayer")
# Classifiers each of whose two heads has a token of its own.
_TWO_TOKENS = ("VisionTransformerDistilled", "PoolingVisionTransformer", "DeiTForImageClassificationWithTeacher")
# transformers' classifiers with two heads, by the names of these.
_HF_PAIRS = (
    ("cls_classifier", "distillation_classifier"),
    ("classifier", "classifier_distill"),
    ("head", "dist_head"),
)
# Pooling by attention: its layer is applied to all tokens, and the first of them is the answer.
_FIRST_TOKEN = ("AttentionPool2d", "RotAttentionPool2d")


@dataclass(frozen=True)
class ClassifierHead:
    """Where the pooled features of a classifier are found.

    Attributes:
        layer_names: paths of the final layers, a Linear or 1x1 Conv2d each; several where heads are averaged.
        read_at: paths of the modules whose inputs are the features: the heads, or the dropout before them.
        concatenated: whether there is a branch of features for each head, side by side; else heads are averaged.
        feature_dim: width of the features.
        first_token: whether of several tokens the first is the features, and not their mean.
        drops_in_code: whether the model drops features by its number `drop_rate`, without a module.
    """

    layer_names: tuple[str, ...]
    read_at: tuple[str, ...]
    concatenated: bool
    feature_dim: int
    first_token: bool
    drops_in_code: bool


def find_head(model: nn.Module, num_labels: int) -> ClassifierHead:
    """Find the head of a timm model or of a Hugging Face `*ForImageClassification`.

    Raises:
        ValueError: the model has no final classification layer, its weights are elsewhere, or it takes no images.
    """
    _check_takes_images(model)
    entries, concatenated, layers = _find_layers(model, num_labels)
    network = getattr(model, "timm_model", model)
    names = {module: name for name, module in model.named_modules()}
    dropout = _dropout_before(network, entries[0])
    widths = [_width(entry, model) for entry in entries]
    return ClassifierHead(
        layer_names=tuple(names[layer] for layer in layers),
        read_at=tuple(names[module] for module in ([dropout] if dropout is not None else entries)),
        concatenated=concatenated,
        feature_dim=sum(widths) if concatenated else widths[0],
        first_token=_is_first_token(network, entries[0]),
        drops_in_code=dropout is None and _drops_in_code(network),
    )


def feature_definition(model: nn.Module) -> str | None:
    """Return "pre_logits" where the pooled features are not simply the input of one final layer; None where they are.

    Stored features of the former were read otherwise by releases that knew a single final layer.
    """
    try:
        entries, concatenated, layers = _find_layers(model, count_labels(model))
    except ValueError:
        return None
    network = getattr(model, "timm_model", model)
    has_own_token = _is_first_token(network, entries[0]) or type(network).__name__ in _TWO_TOKENS
    return "pre_logits" if concatenated or has_own_token or _changes_features(entries[0], layers[0]) else None


def head_weights(model: nn.Module) -> set[str]:
    """Return the names of the weights that turn pooled features into logits; none where there is no such layer."""
    try:
        entries, _, _ = _find_layers(model, count_labels(model))
    except ValueError:
        return set()
    own = {id(value) for entry in entries for value in (*entry.parameters(), *entry.buffers())}
    named = (*model.named_parameters(), *model.named_buffers())
    return {name for name, value in named if id(value) in own and not name.endswith("num_batches_tracked")}


def count_labels(model: nn.Module) -> int:
    """Return the number of classes that a classifier says it has; 0 where it says nothing."""
    if isinstance(model, PreTrainedModel):
        return model.config.num_labels or 0
    return getattr(model, "num_classes", 0)


def logits_of(output: object) -> Tensor:
    """Return the logits, `(batch, num_labels)`, of a classifier's output.

    A distilled timm model that is told so gives the logits of both heads while it trains. Their mean is what it
    answers in `eval()`, and so what has to be trained.

    Raises:
        ValueError: the output holds no logits.
    """
    logits = getattr(output, "logits", output)
    if isinstance(logits, tuple) and all(isinstance(each, Tensor) for each in logits):
        logits = sum(logits) / len(logits)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"A classifier gave a {type(output).__name__} without `logits`; expected a tensor `(batch, num_labels)`, "
            "or an output that holds one as `logits`. Use a `*ForImageClassification` whose forward gives them."
        )
    return logits


def _check_takes_images(model: nn.Module) -> None:
    if not isinstance(model, PreTrainedModel):
        return
    # ImageGPT classifies sequences of colours, SigLIP 2 patches of which each image has a number of its own.
    takes = "tokens (`input_ids`)" if model.main_input_name == "input_ids" else None
    if "spatial_shapes" in inspect.signature(model.forward).parameters:
        takes = "patches (`spatial_shapes`)"
    if takes is not None:
        raise ValueError(
            f"{type(model).__name__} takes {takes}; expected a classifier of images `(batch, channels, height, "
            "width)`. Use another model, such as a `ViTForImageClassification`."
        )


def _entries(model: nn.Module, num_labels: int) -> tuple[list[nn.Module], bool]:
    """Return the modules that turn pooled features into logits, and whether each has a branch of its own."""
    get_classifier = getattr(getattr(model, "timm_model", model), "get_classifier", None)
    if get_classifier is not None:
        heads = get_classifier()
        heads = list(heads) if isinstance(heads, tuple) else [heads]
        if isinstance(heads[0], nn.ModuleList):
            # Heads of distillation, where there are more lists, share the branches.
            return list(heads[0]), True
        return [_entry_of(model, head) for head in heads], False
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"{type(model).__name__} is neither a timm model nor a Hugging Face classifier: it has no "
            "`get_classifier()`. Use a name such as 'timm/resnet18.a1_in1k', or a `*ForImageClassification` model."
        )
    for pair in _HF_PAIRS:
        if all(isinstance(getattr(model, name, None), nn.Module) for name in pair):
            return [getattr(model, name) for name in pair], False
    return [_entry_of(model, layer) for layer in _final_layers(model, num_labels)], False


def _find_layers(model: nn.Module, num_labels: int) -> tuple[list[nn.Module], bool, list[nn.Module]]:
    """Return what `_entries` does, and the final layer in each of these modules."""
    entries, concatenated = _entries(model, num_labels)
    layers = [_final_layers(entry, num_labels) for entry in entries]
    if not layers or not all(layers):
        raise ValueError(
            f"{type(model).__name__} has no final classification layer (expected a Linear or 1x1 Conv2d with "
            f"{num_labels} outputs). Build it with its classes: `num_classes=` in timm, `num_labels=` and a "
            "`*ForImageClassification` class in transformers."
        )
    return entries, concatenated, [layer for (layer,) in layers]


def _entry_of(model: nn.Module, head: nn.Module) -> nn.Module:
    """Return what pooled features enter, given the module that is called the classifier."""
    # A block of pooling, dropout and layer: what enters it is not pooled.
    if hasattr(head, "global_pool"):
        return head.get_submodule("fc")
    parent = _parent_of(model, head)
    return parent if type(parent).__name__ in _NORMED_LINEAR else head


def _final_layers(module: nn.Module, num_labels: int) -> list[nn.Module]:
    """Return the last layer that can make the logits, in a list; in an empty one if there is none."""
    # There may be more layers of that width, such as a hidden one; the last makes the logits.
    return [layer for layer in module.modules() if _is_classifier(layer, num_labels)][-1:]


def _is_classifier(module: nn.Module, num_labels: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == num_labels
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == num_labels


def _dropout_before(network: nn.Module, entry: nn.Module) -> nn.Module | None:
    """Return the dropout that features pass on their way to the head, if it is a module."""
    parent = _parent_of(network, entry)
    if isinstance(parent, nn.Sequential):
        children = list(parent)
        before = children[max(children.index(entry) - 1, 0)]
        return before if isinstance(before, nn.Dropout) else None
    places = [(parent, ("drop", "head_drop", "head_dropout", "dropout")), (network, ("head_drop",))]
    found = (getattr(place, name, None) for place, names in places for name in names)
    return next((module for module in found if isinstance(module, nn.Dropout)), None)


def _drops_in_code(network: nn.Module) -> bool:
    # Many models keep the number that they made their dropout module of, and only some of them use it later.
    code = getattr(getattr(type(network), "forward_head", None), "__code__", None)
    return code is not None and "drop_rate" in code.co_names


def _is_first_token(network: nn.Module, entry: nn.Module) -> bool:
    pool = _parent_of(network, entry)
    return type(pool).__name__ in _FIRST_TOKEN and getattr(pool, "pool_type", None) == "token"


def _changes_features(entry: nn.Module, layer: nn.Module) -> bool:
    """Return whether there is more than dropout between the features and their layer."""
    passing = (nn.Dropout, nn.Identity)
    return any(module not in (entry, layer) and not isinstance(module, passing) for module in entry.modules())


def _parent_of(model: nn.Module, child: nn.Module) -> nn.Module:
    return next((module for module in model.modules() if any(each is child for each in module.children())), model)


def _width(entry: nn.Module, model: nn.Module) -> int:
    weight = next(_weights(entry))
    if weight.numel() == 0:
        raise ValueError(
            f"The weights of {type(model).__name__} were split by DeepSpeed ZeRO-3 when it was loaded, and none "
            "are left here. Load it before the training arguments are made, or give its name instead."
        )
    # Both kinds of layer store `(outputs, inputs, ...)`.
    return weight.shape[1]


def _weights(module: nn.Module) -> Iterator[Tensor]:
    return (layer.weight for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
