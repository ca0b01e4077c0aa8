"""Ordinary image classifiers: found, loaded, built untrained, and saved so that their own libraries read them."""

import copy
import os
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
)
from transformers import TimmWrapperForImageClassification as TimmClassifier

from .classifier_heads import count_labels
from .configuration_exrep import invert_labels
from .new_head import is_head_wanted, replace_head
from .whole_parameters import whole_parameters
from .whole_weights import ARCHITECTURE, TIMM_PREFIX, WEIGHTS, load_but_for_head, load_config, named_errors


def load_classifier(
    name_or_path: str | os.PathLike[str],
    num_labels: int | None = None,
    id2label: dict[int, str] | None = None,
    pretrained: bool = True,
    revision: str | None = None,
    new_head: bool | None = False,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """Load an image classifier, or build it untrained.

    Args:
        name_or_path: "timm/architecture.tag", any other name on the Hub, or a local folder that transformers or
            timm's `save_for_hf` wrote.
        num_labels: number of classes; by default the checkpoint's.
        id2label: names of the classes, from 0 on; by default the checkpoint's.
        pretrained: False takes the architecture alone, with its library's own initialisation. For "timm/…" this needs
            no network.
        revision: branch, tag or commit on the Hub.
        new_head: True replaces the head by an untrained one; None does so where the checkpoint has none, or one for
            another number of classes; False raises there.
        dtype: of the weights: float32, in which they can be trained; None: as they were saved.

    Returns:
        a Hugging Face `*ForImageClassification` in `eval()`, timm's by `TimmWrapperForImageClassification`.

    Raises:
        ValueError: not found; not an image classifier; not exactly its weights; or other classes than asked for.
    """
    return load_with_head(name_or_path, num_labels, id2label, pretrained, revision, new_head, dtype)[0]


def load_with_head(
    name_or_path: str | os.PathLike[str],
    num_labels: int | None = None,
    id2label: dict[int, str] | None = None,
    pretrained: bool = True,
    revision: str | None = None,
    new_head: bool | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> tuple[PreTrainedModel, bool]:
    """Do what `load_classifier` does, and tell whether the head is a new one on trained weights."""
    name = os.fspath(name_or_path)
    if num_labels is None and id2label is not None:
        num_labels = len(id2label)
    if not pretrained:
        model, is_new = _build(name, num_labels, revision), False
    else:
        config = _load_config(name, revision, WEIGHTS, None if new_head is False else num_labels)
        may_lack = num_labels is not None and new_head is not False
        found = load_but_for_head(name, config, revision, dtype, may_lack)
        model = found.model
        own = None if found.lacks_head else _names(model.config)
        is_new = is_head_wanted(own, num_labels, id2label, new_head, f"The checkpoint {name!r}")
    if is_new:
        give_new_head(model, num_labels or model.config.num_labels or 0, f"The checkpoint {name!r}")
    if id2label is not None:
        set_labels(model.config, id2label)
    return model.eval(), is_new


def fit_head(
    model: PreTrainedModel, num_labels: int | None, id2label: dict[int, str] | None, new_head: bool | None
) -> bool:
    """Give a classifier the classes asked for, in place; returns whether its head is a new one.

    Args:
        model: it.
        num_labels: as in `load_classifier`.
        id2label: as there.
        new_head: as there.

    Raises:
        ValueError: as there.
    """
    if num_labels is None and id2label is not None:
        num_labels = len(id2label)
    whose = f"The {type(model).__name__}"
    # Some configurations count their labels without naming them.
    names = _names(model.config) or {number: f"LABEL_{number}" for number in range(count_labels(model))}
    if not is_head_wanted(names or None, num_labels, id2label, new_head, whose):
        return False
    give_new_head(model, num_labels or len(names), whose)
    return True


def give_new_head(model: PreTrainedModel, num_labels: int, whose: str) -> None:
    """Give a classifier an untrained head for nameless classes, in place, and say so."""
    replace_head(model, num_labels, whose)
    set_labels(model.config, {index: f"LABEL_{index}" for index in range(num_labels)})
    # Of a network without a head it was another class.
    model.config.architectures = [type(model).__name__]


def _names(config: PreTrainedConfig) -> dict[int, str]:
    return {int(number): name for number, name in (config.id2label or {}).items()}


def set_input_size(config: PreTrainedConfig, size: int) -> None:
    """Note in a timm classifier's configuration that it is made for whole images of `size` by `size` pixels."""
    if isinstance(config, TimmWrapperConfig):
        known = timm.get_pretrained_cfg(config.architecture)
        cfg = getattr(config, "pretrained_cfg", None) or (known.to_dict() if known else {})
        # crop_pct 1.0: no margin is resized only to be cropped away, as the default 0.875 has it.
        config.pretrained_cfg = cfg
        cfg.update(input_size=[cfg.get("input_size", (3,))[0], size, size], crop_pct=1.0, crop_mode="center")
        # At these timm would evaluate, or refuse any other size.
        for name in ("test_input_size", "test_crop_pct", "fixed_input_size"):
            cfg.pop(name, None)


def set_labels(config: PreTrainedConfig, id2label: dict[int, str]) -> None:
    """Name the classes of a configuration."""
    if sorted(id2label) != list(range(len(id2label))):
        raise ValueError(f"`id2label` has the keys {sorted(id2label)}; expected 0 to {len(id2label) - 1}.")
    config.id2label = dict(id2label)
    config.label2id = invert_labels(id2label)
    _forget_file_names(config)


def _forget_file_names(config: PreTrainedConfig) -> None:
    """Take away names of classes as timm's files hold them: transformers would save these for those it has."""
    for name in ("label_names", "label_descriptions"):
        if isinstance(config, TimmWrapperConfig) and hasattr(config, name):
            delattr(config, name)


def image_shape(config: PreTrainedConfig) -> tuple[int, int | None]:
    """Return channels, and the side in pixels where the configuration names one, of a classifier's images."""
    if isinstance(config, TimmWrapperConfig):
        channels, _, size = getattr(config, "pretrained_cfg", {}).get("input_size", (3, None, None))
        return (config.model_args or {}).get("in_chans", channels), size
    size = getattr(config, "image_size", None)
    # Of an oblong image the longer side: the paper's distiller takes its width from it.
    if isinstance(size, list | tuple):
        size = max(size)
    return getattr(config, "num_channels", 3), size if isinstance(size, int) else None


class TimmWrapperForImageClassification(TimmClassifier):
    """transformers' class of this name, saved in the form that timm reads as well (its `local-dir:` source)."""

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """Save as transformers does, without the prefix of its wrapper in the names of the weights."""
        # The wrapper reads both forms, timm the one without the prefix alone.
        weights = self.state_dict() if state_dict is None else state_dict
        weights = {name.removeprefix("timm_model."): tensor for name, tensor in weights.items()}
        super().save_pretrained(save_directory, is_main_process, state_dict=weights, **kwargs)


def make_plain(classifier: PreTrainedModel) -> PreTrainedModel:
    """Prepare a classifier, in place, to be saved for its own library: timm as well as transformers."""
    if not isinstance(classifier, TimmClassifier):
        return classifier
    config = classifier.config
    _forget_file_names(config)
    config.model_args = config.model_args or {}
    # These describe files in other formats than the one that will be written.
    cfg = getattr(config, "pretrained_cfg", None) or _pretrained_cfg(config.architecture)
    config.pretrained_cfg = {key: value for key, value in cfg.items() if key not in ("label_offset", "num_classes")}
    # Some architectures load their published weights by code of their own, which reads other files than this.
    config.pretrained_cfg["custom_load"] = False
    classifier.__class__ = TimmWrapperForImageClassification
    return classifier


def _build(name: str, num_labels: int | None, revision: str | None) -> PreTrainedModel:
    if name.startswith(TIMM_PREFIX) and not Path(name).is_dir():
        if revision is not None:
            raise ValueError(
                f"The revision {revision!r} was asked for with `pretrained=False`, and the architecture {name!r} is "
                "timm's own, of which nothing is read from the Hub. Leave it out."
            )
        with named_errors(name, ARCHITECTURE):
            config: PreTrainedConfig = _timm_config(name.removeprefix(TIMM_PREFIX))
    else:
        config = _load_config(name, revision, ARCHITECTURE, num_labels)
    if num_labels is not None and num_labels != config.num_labels:
        set_labels(config, {index: f"LABEL_{index}" for index in range(num_labels)})
    with whole_parameters(), named_errors(name, ARCHITECTURE):
        # Not in the type of the weights that the configuration was saved beside.
        model = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
        if isinstance(config, TimmWrapperConfig):
            # transformers overwrites timm's initialisation with its own, which doesn't train as well.
            model_args = copy.deepcopy(config.model_args) or {}
            fresh = timm.create_model(config.architecture, num_classes=config.num_labels, **model_args)
            model.timm_model.load_state_dict(fresh.state_dict())
    return model


def _load_config(name: str, revision: str | None, what: str, num_labels: int | None = None) -> PreTrainedConfig:
    config = load_config(name, revision, what)
    if not config.num_labels:
        is_head_wanted(None, num_labels, None, None, f"The checkpoint {name!r}")
        set_labels(config, {index: f"LABEL_{index}" for index in range(num_labels or 0)})
    return config


def _timm_config(name: str) -> TimmWrapperConfig:
    cfg = _pretrained_cfg(name)
    config = {"architecture": name.split(".")[0], "pretrained_cfg": cfg, "model_args": {}}
    return TimmWrapperConfig.from_dict(config | {"num_classes": cfg["num_classes"]})


def _pretrained_cfg(name: str) -> dict[str, Any]:
    """Look up what timm knows of an architecture's input and classes; the source of weights isn't part of it."""
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None:
        raise ValueError(f"Architecture {name!r} is unknown to timm {timm.__version__}.")
    return cfg.to_dict(remove_source=True)
