"""Whether a model takes images of a size, tried on one of them."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from .backbone import image_shape

REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, LookupError, NotImplementedError)
"""What a network raises on images that it does not take: each library has its own."""


def check_takes_image(model: nn.Module, image: Tensor, who: str) -> None:
    """Make sure that a model takes an image, as it will be given them.

    Args:
        model: a classifier, or a network without one; it stays as it is.
        image: `(channels, height, width)`.
        who: the model's name or role, for messages.

    Raises:
        ValueError: if it takes images of another size or number of channels.
    """
    weight = next(model.parameters())
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            model(image[None].to(weight.device, weight.dtype))
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        raise ValueError(
            f"The {who} can't take images of {_in_words(image)} ({' '.join(str(error).split())[:200]}); "
            f"{_expected(model)}. Give it images of its own size (`image_size`), or take another model."
        ) from error
    finally:
        for module, training in modes:
            module.training = training


def blank_image(model: nn.Module) -> Tensor:
    """Return an image of the size that a network names, or of 224 pixels, `(channels, height, width)`."""
    network = getattr(model, "timm_model", model)
    config = getattr(model, "config", None)
    if isinstance(config, PreTrainedConfig):
        channels, size = image_shape(config)
        size = getattr(config, "image_size", None) or size
    else:
        channels, size, _ = getattr(network, "pretrained_cfg", {}).get("input_size", (3, None, None))
    # A network of timm may have been built for another size than its weights were published for.
    size = getattr(getattr(network, "patch_embed", None), "img_size", None) or size or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return torch.zeros(channels, height, width)


def _in_words(image: Tensor) -> str:
    return f"{image.shape[0]} channels, {' × '.join(map(str, image.shape[1:]))} pixels"


def _expected(model: nn.Module) -> str:
    config = getattr(getattr(model, "classifier", model), "config", None) or getattr(model, "config", None)
    if isinstance(config, PreTrainedConfig):
        channels, size = image_shape(config)
    else:
        channels, size, _ = getattr(model, "pretrained_cfg", {}).get("input_size", (None, None, None))
    found = [f"{channels} channels"] * bool(channels) + [f"{size} × {size} pixels"] * bool(size)
    return f"by its configuration it takes {', '.join(found)}" if found else "its configuration names none"
