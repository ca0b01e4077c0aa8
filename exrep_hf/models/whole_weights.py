"""Loading a model whole, or not at all."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import PickleError
from typing import Any

import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
)

from .classifier_heads import head_weights
from .model_files import check_model_files
from .whole_parameters import whole_parameters

TIMM_PREFIX = "timm/"
WEIGHTS, ARCHITECTURE = "Weights of an image classifier", "The architecture of an image classifier"
NETWORK = "Weights of a network"

# Parts that no answer of a classifier depends on, and that checkpoints hold all the same: the pooler and the mask
# token of a pre-training, the second head that some convolutional networks are trained with, and a counter.
_UNUSED = re.compile(r"(^|\.)(pooler|mask_token|AuxLogits)(\.|$)|\.num_batches_tracked$")

_NEW_HEAD = (
    " A network without a classifier becomes a student with an untrained head by `ExRepForImageClassification."
    "from_backbone(…, num_labels=…)`; on the command line by `--student_new_head`."
)

# What reading, checking and building raise, also of settings of types that nobody expects.
_ERRORS = (
    *(OSError, RuntimeError, ValueError, ImportError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, SafetensorError, StrictDataclassError, PickleError),
)


@dataclass(frozen=True)
class Loaded:
    """What was loaded.

    Attributes:
        model: the classifier.
        lacks_head: whether its head is as it was drawn: the checkpoint is one of a network without a classifier.
    """

    model: PreTrainedModel
    lacks_head: bool


def load_whole(
    name: str,
    config: PreTrainedConfig | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """Load an image classifier by transformers, which draws what a checkpoint lacks at random and only logs it.

    Each process gets the model in one piece, also under DeepSpeed ZeRO-3.

    Args:
        name: Hub name or folder.
        config: `load_config`'s, where something was changed in it.
        revision: branch, tag or commit on the Hub.
        dtype: of its weights; None: as they were saved.

    Raises:
        ValueError: if it can't be loaded, or checkpoint and model don't hold the same weights.
    """
    config = load_config(name, revision, WEIGHTS) if config is None else config
    return load_but_for_head(name, config, revision, dtype, may_lack_head=False).model


def load_but_for_head(
    name: str,
    config: PreTrainedConfig,
    revision: str | None = None,
    dtype: torch.dtype | None = torch.float32,
    may_lack_head: bool = True,
) -> Loaded:
    """Do what `load_whole` does, for a checkpoint that may have no head.

    Args:
        name: Hub name or folder.
        config: `load_config`'s.
        revision: branch, tag or commit on the Hub.
        dtype: of its weights; None: as they were saved.
        may_lack_head: False: that is a fault too.

    Raises:
        ValueError: if it can't be loaded, or checkpoint and model don't hold the same weights.
    """
    model, report = load_reported(AutoModelForImageClassification, name, config, revision, dtype)
    head = head_weights(model)
    lacks_head = bool(head) and head <= set(report["missing_keys"])
    remedy = _OF_CLASSIFIERS + _NEW_HEAD * lacks_head
    if not (lacks_head and may_lack_head):
        check_whole(model, report, name, remedy)
        return Loaded(model, lacks_head)
    try:
        check_whole(model, report | {"missing_keys": set(report["missing_keys"]) - head}, name)
    except ValueError:
        if report["unexpected_keys"]:
            # The head may be there under another name.
            check_whole(model, report, name, remedy)
        raise
    return Loaded(model, lacks_head)


def load_reported(
    auto_class: Any,
    name: str,
    config: PreTrainedConfig,
    revision: str | None,
    dtype: torch.dtype | None,
    what: str = WEIGHTS,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a network by a class of transformers, and say which weights were missing, unexpected or of another shape.

    Each process gets the model in one piece, also under DeepSpeed ZeRO-3.

    Args:
        auto_class: such as `AutoModel`.
        name: Hub name or folder.
        config: the network's.
        revision: branch, tag or commit on the Hub.
        dtype: of its weights; None: as they were saved.
        what: is loaded, for messages.

    Returns:
        the network, whose missing weights are drawn at random, and `from_pretrained`'s report.

    Raises:
        ValueError: if it can't be loaded.
    """
    with whole_parameters(), named_errors(name, what):
        return auto_class.from_pretrained(
            name,
            config=config,
            revision=revision,
            dtype="auto" if dtype is None else dtype,
            output_loading_info=True,
            # Reported with the others, instead of raised without their names.
            ignore_mismatched_sizes=True,
        )


_OF_CLASSIFIERS = (
    "Use a checkpoint whose head is trained and whose config.json belongs to its weights, or `pretrained=False` to "
    "start from nothing."
)


def check_whole(model: PreTrainedModel, report: Mapping[str, Any], name: str, remedy: str = _OF_CLASSIFIERS) -> None:
    """Make sure that a model and the checkpoint that it was loaded from hold the same weights.

    Indices and counters are left out: they follow from the architecture.

    Args:
        model: as it was loaded.
        report: `from_pretrained`'s, with `output_loading_info`.
        name: of the checkpoint, for messages.
        remedy: what to do where they don't.

    Raises:
        ValueError: naming weights that the checkpoint lacks, has besides, or has in another shape.
    """
    buffers = dict(model.named_buffers())
    missing = [key for key in report["missing_keys"] if key not in buffers or buffers[key].is_floating_point()]
    # Some libraries save buffers that they make again anyhow.
    unexpected = [key for key in report["unexpected_keys"] if key not in buffers and not _UNUSED.search(key)]
    other_shape = [f"{key} {tuple(there)} instead of {tuple(here)}" for key, there, here in report["mismatched_keys"]]
    found = [
        f"{told} {some(keys)}"
        for told, keys in (
            ("no weights for", missing),
            ("weights that the model doesn't have:", unexpected),
            ("weights of another shape:", other_shape),
        )
        if keys
    ]
    if found:
        raise ValueError(
            f"The checkpoint {name!r} has {'; and '.join(found)}; expected exactly the weights of a "
            f"{type(model).__name__} as its config.json describes it. {remedy}"
        )


def some(names: Iterable[str], most: int = 4) -> str:
    """Return the first of several names, in order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def read_config(name: str, revision: str | None, what: str) -> PreTrainedConfig:
    """Load the configuration of a network of any type.

    Args:
        name: Hub name or folder.
        revision: branch, tag or commit on the Hub.
        what: is going to be loaded, for messages: `NETWORK`, `WEIGHTS` or `ARCHITECTURE`.

    Raises:
        ValueError: if there is none, or its numbers are out of bounds.
    """
    try:
        check_model_files(name, revision)
    except OSError as error:
        raise ValueError(not_loaded(name, what, error)) from error
    with named_errors(name, what):
        config = AutoConfig.from_pretrained(name, revision=revision)
    if isinstance(config, TimmWrapperConfig):
        # timm's `save_for_hf` repeats the number of classes here, and the wrapper would pass it twice.
        config.model_args = {key: value for key, value in (config.model_args or {}).items() if key != "num_classes"}
    return config


def load_config(name: str, revision: str | None, what: str) -> PreTrainedConfig:
    """Load the configuration of an image classifier.

    Args:
        name: Hub name or folder.
        revision: branch, tag or commit on the Hub.
        what: is going to be loaded, for messages: `WEIGHTS` or `ARCHITECTURE`.

    Raises:
        ValueError: if there is none, or it is not one of an image classifier, or its numbers are out of bounds.
    """
    config = read_config(name, revision, what)
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"{name!r} is a model of the type {config.model_type!r}, of which transformers knows no image classifier. "
            "Take an image classifier: a `*ForImageClassification`, or a model of timm."
        )
    return config


@contextmanager
def named_errors(name: str, what: str) -> Iterator[None]:
    """Turn what transformers, timm or safetensors raise about a model into one sentence about its name."""
    try:
        yield
    except _ERRORS as error:
        raise ValueError(not_loaded(name, what, error)) from error


def not_loaded(name: str, what: str, error: Exception) -> str:
    """Say that a model could not be loaded, why, and what to do."""
    remedy = "Check the spelling, the network, and that it is public or you are logged in (`hf auth login`)"
    if Path(name).is_dir():
        remedy = "Expected a folder with config.json and weights that `save_pretrained` or timm's `save_for_hf` wrote"
    elif name.startswith(TIMM_PREFIX):
        architecture = name.removeprefix(TIMM_PREFIX).split(".")[0]
        known = timm.list_pretrained(f"{architecture}.*")
        close = known or timm.list_models(f"*{architecture}*")
        remedy = (
            f"timm knows {', '.join(TIMM_PREFIX + each for each in close[:5]) or 'no such architecture'}. {remedy}"
        )
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else f"{reason[:200]} …"
    return f"{what} could not be loaded from {name!r} ({type(error).__name__}: {reason}). {remedy}."
