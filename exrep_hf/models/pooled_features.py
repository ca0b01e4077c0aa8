"""Pooled features of networks that need no classifier: what they pool themselves, their first token, or a mean."""

import inspect
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .classifier_heads import count_labels, logits_of
from .image_check import REFUSALS, blank_image
from .vision_backbone import has_classifier

Features = Literal["own", "cls", "mean"]
"""What features are: what the network itself pools, the first token, or the mean of the other tokens."""

# Learnt tokens that stand before those of the patches, by the last part of their names.
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")
_OTHER_TOKENS = ("register_tokens", "distillation_token")
# It puts what it pools before the positions of its map, and calls it the first token.
_POOLED_FIRST = ("dinov3_convnext",)
_CHANNELS_LAST = ("DinatModel",)


class PooledReader:
    """Read pooled features, and logits where there are any, in one forward.

    For timm `own` is `forward_head(forward_features(images), pre_logits=True)` and tokens are those of
    `forward_features`; for transformers it is `pooler_output`, and tokens are those of `last_hidden_state`. `mean`
    leaves out class, register and distillation tokens; of a feature map it is the mean over space.

    The reader does not keep the model, so it goes on working on copies of it.

    Args:
        model: a network of timm or transformers that takes images.
        features: what to read; of a transformers classifier not `own`, which `FeatureReader` reads.
        image: one image of the shape that the model wants, `(channels, height, width)`; of the size that the model
            names where not given.

    Attributes:
        features: what is read.
        num_labels: number of classes; None: there are no logits.
        feature_dim: width of the features.

    Raises:
        ValueError: if the network takes no images, not this one, or has no such features, naming those that it has.
    """

    def __init__(self, model: nn.Module, features: Features = "own", image: Tensor | None = None) -> None:
        if features not in get_args(Features):
            raise ValueError(f"`features` is {features!r}; expected one of {', '.join(get_args(Features))}.")
        check_takes_images(model)
        self.features = features
        self.num_labels = count_labels(model) if has_classifier(model) else None
        self.feature_dim = self._try(model, blank_image(model) if image is None else image).shape[1]

    def __call__(self, model: nn.Module, pixel_values: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run `model`, the one that this reader was made for or a copy of it, once.

        Args:
            model: the network.
            pixel_values: `(batch, channels, height, width)`.

        Returns:
            logits `(batch, num_labels)`, None without a classifier; and features `(batch, feature_dim)`.
        """
        network: Any = getattr(model, "timm_model", model)
        if hasattr(network, "forward_head"):
            return self._of_timm(network, pixel_values)
        return self._of_transformers(network, pixel_values)

    def _try(self, model: nn.Module, image: Tensor) -> Tensor:
        """Return the features of one image."""
        weight = next(model.parameters())
        if weight.numel() == 0:
            raise ValueError(
                f"The weights of {type(model).__name__} were split by DeepSpeed ZeRO-3 when it was loaded, and none "
                "are left here. Load it before the training arguments are made, or give its name instead."
            )
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with torch.no_grad():
                # No two parts of it are the same: which ones were left out would not show.
                varied = torch.linspace(-1, 1, image.numel()).view(1, *image.shape)
                pixels = varied.to(weight.device, weight.dtype)
                pooled = self(model, pixels)[1]
                may_mask = getattr(getattr(model, "config", None), "mask_ratio", 0)
                if may_mask and not torch.equal(pooled, self(model, pixels)[1]):
                    raise _RandomFeaturesError(
                        f"{_kind(model)} leaves out a random part of each image (`mask_ratio` {may_mask}); expected "
                        "the same answer each time. Set `model.config.mask_ratio = 0`, and pass the model."
                    )
                return pooled
        except torch.OutOfMemoryError:
            raise
        except _RandomFeaturesError:
            raise
        except _NoSuchFeaturesError as error:
            raise ValueError(f"`features` is {self.features!r}, and {error}") from error
        except REFUSALS as error:
            raise ValueError(
                f"{_kind(model)} can't answer an image of (channels, height, width) {tuple(image.shape)} "
                f"({' '.join(str(error).split())[:200]}); expected a network of timm, or a vision model of "
                "transformers, that takes images of its own size. Pass its image processor as `processing_class`, or "
                "take another network."
            ) from error
        finally:
            for module, training in modes:
                module.training = training

    def _of_timm(self, network: Any, pixel_values: Tensor) -> tuple[Tensor | None, Tensor]:
        hidden = network.forward_features(pixel_values)
        logits = None if self.num_labels is None else logits_of(network.forward_head(hidden))
        if self.features == "own":
            pooled = network.forward_head(hidden, pre_logits=True)
            if not isinstance(pooled, Tensor) or pooled.flatten(1).shape[1] != pooled.shape[1]:
                raise _lacking(network, "pools nothing itself", _of_tokens(hidden, _prefix_of_timm(network)))
            return logits, pooled.flatten(1)
        maps_are_last = getattr(network, "output_fmt", "NCHW") == "NHWC" or _is_last(hidden, network.num_features)
        return logits, self._tokens(network, hidden, _prefix_of_timm(network), maps_are_last, ["own"])

    def _of_transformers(self, model: nn.Module, pixel_values: Tensor) -> tuple[Tensor | None, Tensor]:
        logits, output = self._forward(model, pixel_values)
        hidden, pooled = getattr(output, "last_hidden_state", None), getattr(output, "pooler_output", None)
        prefix = _prefix_of_transformers(model)
        if self.features == "own":
            if not isinstance(pooled, Tensor):
                raise _lacking(model, "has no pooler with weights", _of_tokens(hidden, prefix))
            return logits, pooled.flatten(1)
        width = pooled.shape[1] if isinstance(pooled, Tensor) else None
        maps_are_last = type(model).__name__ in _CHANNELS_LAST or _is_last(hidden, width)
        return logits, self._tokens(model, hidden, prefix, maps_are_last, ["own"] * isinstance(pooled, Tensor))

    def _forward(self, model: nn.Module, pixel_values: Tensor) -> tuple[Tensor | None, Any]:
        """Return the logits of a classifier, and the output of the network below it."""
        if self.num_labels is None:
            return None, model(pixel_values)
        below: Any = getattr(model, "vision_model", None) or getattr(model, "base_model", model)
        if below is model:
            raise _lacking(model, "keeps its tokens to itself", ["own"])
        seen: list[Any] = []
        handle = below.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            logits = logits_of(model(pixel_values))
        finally:
            handle.remove()
        return logits, seen[0] if seen else None

    def _tokens(
        self, network: nn.Module, hidden: Any, prefix: tuple[int, int], maps_are_last: bool, others: list[str]
    ) -> Tensor:
        """Return the class token, or the mean of those that are none, of tokens or of a map of them."""
        available = [*others, *_of_tokens(hidden, prefix)]
        if self.features not in available:
            what = "has no class token" if self.features == "cls" else "hands out no tokens of patches"
            raise _lacking(network, what, available)
        if hidden.ndim == 4:
            return hidden.mean((1, 2) if maps_are_last else (2, 3))
        return hidden[:, 0] if self.features == "cls" else hidden[:, sum(prefix) :].mean(1)


class _RandomFeaturesError(ValueError):
    """A network answers the same image otherwise each time."""


class _NoSuchFeaturesError(ValueError):
    """A network has no features of the kind that was asked for."""


def _lacking(network: nn.Module, what: str, available: list[str]) -> _NoSuchFeaturesError:
    kinds = " or ".join(f"features={each!r}" for each in available)
    return _NoSuchFeaturesError(f"{_kind(network)} {what}. Take {kinds or 'another network'}.")


def _of_tokens(hidden: Any, prefix: tuple[int, int]) -> list[str]:
    """Return which of `cls` and `mean` can be read: of a map the mean alone."""
    if not isinstance(hidden, Tensor) or hidden.ndim not in (3, 4):
        return []
    if hidden.ndim == 4:
        return ["mean"]
    return ["cls"] * (prefix[0] > 0) + ["mean"] * (hidden.shape[1] > sum(prefix))


def _is_last(hidden: Any, width: int | None) -> bool:
    """Return whether the channels of a map are its last axis, where only that one has their number."""
    is_map = isinstance(hidden, Tensor) and hidden.ndim == 4
    return is_map and hidden.shape[1] != width and hidden.shape[3] == width


def _prefix_of_timm(network: Any) -> tuple[int, int]:
    """Return how many class tokens, and how many others, stand before those of the patches."""
    has_class = any(getattr(network, name, None) is not None for name in _CLASS_TOKENS)
    count = getattr(network, "num_prefix_tokens", int(has_class))
    return (1, count - 1) if has_class and count else (0, count)


def _prefix_of_transformers(model: nn.Module) -> tuple[int, int]:
    if getattr(getattr(model, "config", None), "model_type", None) in _POOLED_FIRST:
        return 1, 0
    # AIMv2's pooling by attention has such a token too, which is none of the sequence.
    counts = {name: _count(value) for name, value in model.named_parameters() if "head" not in name.split(".")}
    of_class, others = (
        sum(count for name, count in counts.items() if name.rpartition(".")[2] in names)
        for names in (_CLASS_TOKENS, _OTHER_TOKENS)
    )
    return of_class, others


def _count(tokens: Tensor) -> int:
    """Number of tokens in `(width,)` or `(1, number, width)`."""
    return 1 if tokens.ndim < 2 else tokens.shape[-2]


def check_takes_images(model: nn.Module) -> None:
    """Make sure that a network takes images, and not tokens or patches.

    Raises:
        ValueError: naming what it takes.
    """
    if not isinstance(model, PreTrainedModel):
        return
    parameters = inspect.signature(model.forward).parameters
    takes, remedy = None, "a vision model such as `Dinov2Model`"
    if "spatial_shapes" in parameters:
        # NaFlex: of each image another number of patches.
        takes = "patches (`spatial_shapes`)"
        remedy = "a checkpoint of the same family for images of one size, such as 'google/siglip2-base-patch16-224'"
    elif not {"pixel_values", "inputs"} & parameters.keys() or model.main_input_name == "input_ids":
        takes = f"`{model.main_input_name}`"
    if takes is not None:
        raise ValueError(
            f"{type(model).__name__} takes {takes}; expected a network of images `(batch, channels, height, width)`. "
            f"Use {remedy}."
        )


def _kind(model: nn.Module) -> str:
    return type(getattr(model, "timm_model", model)).__name__
