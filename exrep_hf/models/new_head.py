"""Heads for other classes on trained networks."""

import logging

import timm
from torch import nn
from transformers import PreTrainedModel
from transformers import TimmWrapperForImageClassification as TimmClassifier

from .classifier_heads import find_head, head_weights

logger = logging.getLogger(__name__)


def is_head_wanted(
    own: dict[int, str] | None,
    num_labels: int | None,
    id2label: dict[int, str] | None,
    new_head: bool | None,
    whose: str,
) -> bool:
    """Return whether a trained head has to be replaced.

    Args:
        own: names of the head's classes, by number; None: there is no trained head.
        num_labels: how many are asked for; None: as many as there are.
        id2label: their names, where any are given.
        new_head: True: in any case; False: not at all; None: where the number of classes is another.
        whose: the network, for messages.

    Raises:
        ValueError: for other classes than the head's with `new_head` False, or with as many classes whose names have
            nothing in common, which may be a translation or others; or if there is no head and no number of classes.
    """
    if own is None:
        if num_labels is None or new_head is False:
            raise ValueError(
                f"{whose} has no head: it is a network without a classifier. A student gets an untrained one: "
                "`ExRepForImageClassification.from_backbone(…, num_labels=…)`, on the command line "
                "`--student_new_head`. A teacher's is made of labelled images: `teacher_head='probe'`."
            )
        return True
    if new_head:
        return True
    if num_labels is not None and num_labels != len(own):
        if new_head is None:
            return True
        raise ValueError(
            f"{whose} has weights for {len(own)} classes and {num_labels} were asked for. Use a checkpoint for these "
            "classes, or a student with a new, untrained head: `ExRepForImageClassification.from_backbone(…, "
            f"num_labels={num_labels})`; on the command line `--student_new_head`."
        )
    if new_head is None and id2label is not None and _are_others(own, id2label):
        raise ValueError(
            f"{whose} has a head trained for {len(own)} classes, {_first(own)}, and `id2label` calls as many "
            f"{_first(id2label)}. Say `new_head=True` for an untrained head, or `new_head=False` if they are the "
            "same classes by other names."
        )
    return False


def replace_head(model: PreTrainedModel, num_labels: int, whose: str) -> None:
    """Give a classifier an untrained head, in place, and say so.

    Raises:
        ValueError: if the head is not one that can be replaced.
    """
    _tell(whose, num_labels)
    if isinstance(model, TimmClassifier):
        model.timm_model = _built_again(model, num_labels)
    else:
        for name in find_head(model, model.config.num_labels or 0).layer_names:
            _replace_layer(model, name, num_labels)
    model.num_labels = num_labels  # type: ignore[assignment]


def _built_again(model: TimmClassifier, num_labels: int) -> nn.Module:
    """Return the network as it will be loaded, with its weights but for the head.

    Some networks' `reset_classifier` leaves parts of their head out, and what is saved then loads nowhere.
    """
    old = model.timm_model
    network = timm.create_model(model.config.architecture, num_classes=num_labels, **(model.config.model_args or {}))
    head = head_weights(old)
    kept = {name: value for name, value in old.state_dict().items() if name not in head}
    own = network.state_dict()
    network.load_state_dict(own | {name: value for name, value in kept.items() if name in own})
    like = next(old.parameters())
    return network.to(like.device, like.dtype).train(old.training)


def reset_timm_head(module: nn.Module, num_labels: int, whose: str) -> None:
    """Give a network of timm without a head an untrained one, in place, and say so."""
    _tell(whose, num_labels)
    module.reset_classifier(num_labels)  # type: ignore[operator]


def _tell(whose: str, num_labels: int) -> None:
    logger.warning("%s gets an untrained head for %d classes; its other weights stay.", whose, num_labels)


def _replace_layer(model: PreTrainedModel, name: str, num_labels: int) -> None:
    old = model.get_submodule(name)
    if isinstance(old, nn.Linear):
        layer: nn.Module = nn.Linear(old.in_features, num_labels, old.bias is not None)
    elif isinstance(old, nn.Conv2d):
        layer = nn.Conv2d(old.in_channels, num_labels, old.kernel_size, bias=old.bias is not None)  # type: ignore[arg-type]
    else:
        raise ValueError(
            f"The head of {type(model).__name__} is a {type(old).__name__}; expected a Linear or Conv2d layer. Take a "
            "checkpoint for your classes."
        )
    parent, _, last = name.rpartition(".")
    like = next(old.parameters())
    setattr(model.get_submodule(parent), last, layer.to(like.device, like.dtype))


def _are_others(own: dict[int, str], given: dict[int, str]) -> bool:
    names = {str(name).casefold() for name in own.values()}
    placeholders = {f"label_{number}" for number in range(len(own))}
    return names != placeholders and names.isdisjoint(str(name).casefold() for name in given.values())


def _first(names: dict[int, str]) -> str:
    return ", ".join(map(repr, list(names.values())[:3])) + " …" * (len(names) > 3)
