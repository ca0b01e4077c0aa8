"""Configuration of a classifier with an Input Distiller before it."""

import copy
import json
from collections.abc import Callable
from typing import Any, Literal

from transformers import CONFIG_MAPPING, PreTrainedConfig

Distiller = Literal["light", "paper"]

# Smallest and largest side in pixels. "paper" halves the image three times and is 2**14 / side channels wide.
_IMAGE_SIZES = {None: (1, 2**16), "light": (8, 2**16), "paper": (16, 2**14)}

_Labels = dict[int, str] | dict[str, str]

# The labels have one home, this configuration; the rest belongs to the run that wrote the backbone's file.
_LABELS = {"id2label", "label2id", "num_labels", "num_classes", "label_names", "label_descriptions"}
_NOT_KEPT = _LABELS | {"_name_or_path", "dtype", "transformers_version"}


first_use: list[Callable[[], None]] = []
"""What the package does when a configuration is first made; nothing where this file is used without it."""


class ExRepConfig(PreTrainedConfig):
    """What `ExRepForImageClassification` is built from.

    Args:
        backbone_config: the classifier's configuration, as an object or as its `to_dict()` (with `model_type`). Kept
            as a plain dict, as json would give it back.
        distiller: "light", "paper", or None for no distiller.
        distiller_channels: width of the "light" distiller.
        image_size: side in pixels of the images that the model is made for, which sets the width of the "paper"
            distiller.
        num_channels: channels of the images.
        id2label: names of the classes; the backbone's where not given.
        **kwargs: fields of `PreTrainedConfig`.

    Raises:
        ValueError: unknown distiller, a size out of range, a backbone without `model_type` or of an unknown type, or
            a number of labels that isn't the backbone's.
    """

    model_type = "exrep"

    def __init__(
        self,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        distiller: Distiller | None = "light",
        distiller_channels: int = 24,
        image_size: int = 224,
        num_channels: int = 3,
        id2label: dict[int, str] | None = None,
        **kwargs: Any,
    ):
        while first_use:
            first_use.pop()()
        if distiller not in _IMAGE_SIZES:
            raise ValueError(f"`distiller` is {distiller!r}; expected one of 'light', 'paper' or None.")
        for name, value in (("distiller_channels", distiller_channels), ("num_channels", num_channels)):
            if value < 1:
                raise ValueError(f"`{name}` is {value}; expected at least 1.")
        smallest, largest = _IMAGE_SIZES[distiller]
        if not smallest <= image_size <= largest:
            raise ValueError(
                f"`image_size` is {image_size}; expected {smallest} to {largest} pixels with distiller={distiller!r}. "
                "Resize the images, or use another distiller."
            )
        num_labels = kwargs.pop("num_labels", None)
        # It follows from the names; a saved file holds it all the same.
        kwargs.pop("label2id", None)
        if backbone_config is not None:
            # A dict as this class saves it has none: the labels are then this configuration's alone.
            has_labels = isinstance(backbone_config, PreTrainedConfig) or not _LABELS.isdisjoint(backbone_config)
            backbone = _as_config(backbone_config, None if has_labels else num_labels or len(id2label or ()) or 2)
            own_labels = backbone.id2label or {index: f"LABEL_{index}" for index in range(backbone.num_labels or 0)}
            id2label = _agreed_labels(own_labels if has_labels else None, id2label, num_labels)
            # Through json, so that tuples and integer keys look the same before and after a save.
            kept = {key: value for key, value in backbone.to_dict().items() if key not in _NOT_KEPT}
            backbone_config = json.loads(json.dumps(kept))
        else:
            id2label = _agreed_labels(None, id2label, num_labels)
        super().__init__(id2label=id2label, label2id=invert_labels(id2label), **kwargs)
        self.backbone_config = backbone_config
        self.distiller = distiller
        self.distiller_channels = distiller_channels
        self.image_size = image_size
        self.num_channels = num_channels

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of one that another process made."""
        while first_use:
            first_use.pop()()
        self.__dict__.update(state)

    def build_backbone_config(self) -> PreTrainedConfig:
        """Return the classifier's configuration as an object of its own class, with this configuration's labels."""
        if self.backbone_config is None:
            raise ValueError(
                "This ExRepConfig has no `backbone_config`, so there is no classifier to build; give it the "
                "configuration of an image classifier, or use `ExRepForImageClassification.from_backbone`."
            )
        config = _as_config(self.backbone_config, num_labels=self.num_labels)
        # A copy: what is done to the classifier's names must not reach this configuration.
        config.id2label = _agreed_labels(self.id2label, None, None)
        config.label2id = invert_labels(config.id2label)
        return config


def _as_config(backbone_config: PreTrainedConfig | dict[str, Any], num_labels: int | None = None) -> PreTrainedConfig:
    if isinstance(backbone_config, PreTrainedConfig):
        return backbone_config
    model_type = backbone_config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"`backbone_config` has model_type {model_type!r}, which the installed transformers doesn't know; "
            "expected the configuration of an image classifier such as 'timm_wrapper' or 'resnet'. Upgrade "
            "transformers, or give a dict made by that configuration's `to_dict()`."
        )
    # `from_dict` of the class itself: `AutoConfig.for_model` would forget the number of labels.
    counted = {} if num_labels is None else {"num_labels": num_labels}
    return CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(backbone_config), **counted)


def _agreed_labels(own: _Labels | None, given: _Labels | None, num_labels: int | None) -> dict[int, str] | None:
    """Return the given names or else the classifier's own, if all that say how many classes there are agree."""
    counts = {"num_labels": num_labels}
    counts |= {name: len(labels) for name, labels in (("backbone", own), ("id2label", given)) if labels is not None}
    if len({count for count in counts.values() if count is not None}) > 1:
        raise ValueError(
            f"Different numbers of classes: {counts}; expected the same. Give as many labels as the backbone has "
            "classes, or make a new head: `from_backbone(…, num_labels=…)`."
        )
    labels = own if given is None else given
    if labels is None and num_labels is not None:
        labels = {index: f"LABEL_{index}" for index in range(num_labels)}
    # json turns the numbers of classes into text.
    return None if labels is None else {int(index): name for index, name in labels.items()}


def invert_labels(id2label: dict[int, str] | None) -> dict[str, int] | None:
    """Return `label2id`, or None where a name stands for two classes (ImageNet: "crane")."""
    if id2label is None or len(set(id2label.values())) < len(id2label):
        return None
    return {name: index for index, name in id2label.items()}
