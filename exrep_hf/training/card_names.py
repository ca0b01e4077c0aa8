"""How a card speaks of models and data sets: those of the Hub by name and link, those of a folder as such."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from exrep_hf.data.loading import is_on_the_hub
from exrep_hf.training.markdown import plain

HERE = "."
"""What a student is loaded by that has no name on the Hub: its folder, from inside."""
_HUB = "https://huggingface.co"
_BUILT_IN = {"digits": "scikit-learn's digits"}


def architecture(network: nn.Module) -> str:
    """Return what a network is, whatever it is called: timm's name of its architecture, or its class."""
    return str(getattr(getattr(network, "config", None), "architecture", None) or type(network).__name__)


def hub_models(model: Mapping[str, Any] | None) -> list[str]:
    """Return the names on the Hub that a model's weights come from.

    Args:
        model: as results hold it; several teachers stand in one name. What has only its architecture from somewhere
            is not of it.
    """
    if model is None or model["from_scratch"]:
        return []
    return [name for name in model["name"].split(", ") if is_on_the_hub(name)]


def model_in_words(model: Mapping[str, Any]) -> str:
    """Return what a model, or several, are; harmless text of results becomes Markdown."""
    kinds = (model.get("architecture") or "").split(", ")
    names = model["name"].split(", ")
    # Of several that are stored nobody knows which is what.
    kinds = kinds if len(kinds) == len(names) else [""] * len(names)
    told = [_one_in_words(name, kind, model["from_scratch"]) for name, kind in zip(names, kinds, strict=True)]
    return " and ".join(told)


def _one_in_words(name: str, kind: str, from_scratch: bool) -> str:
    if not is_on_the_hub(name):
        return f"a local model called “{plain(name)}”" + (f" ({plain(kind)})" if kind else "")
    # An architecture has no page of its own.
    return f"`{name}`" if from_scratch else f"[`{name}`]({_HUB}/{name})"


def evaluated_in_words(images: Mapping[str, Any]) -> str:
    """Return how many images were evaluated on, and of what: a whole split, or a part of one."""
    count, split, part = images["num_evaluated"], images.get("split"), str(images.get("part"))
    if split is None and part.startswith("part of "):
        return f"{count} images, a {plain(part)} that training did not see"
    return f"{count} images of the {plain(split or images['evaluated_on'])} split"


def dataset_in_words(data: Mapping[str, Any]) -> str:
    """Return what a data set is; harmless text of results becomes Markdown."""
    if data["hub_name"] is not None and is_on_the_hub(data["hub_name"]):
        return f"[`{data['hub_name']}`]({_HUB}/datasets/{data['hub_name']})"
    # Part of one on the Hub.
    if is_on_the_hub(data["name"]):
        return f"`{data['name']}`"
    return _BUILT_IN.get(data["name"], f"local images called “{plain(data['name'])}”")
