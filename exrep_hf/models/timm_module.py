"""Networks that `timm.create_model` made, as classifiers of transformers."""

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from transformers import TimmWrapperConfig
from transformers import TimmWrapperForImageClassification as TimmClassifier

from .image_check import REFUSALS

# As normalisation, LayerScale and Affine call theirs.
_SCALES = ("weight", "gamma", "alpha")


def is_timm_module(model: nn.Module) -> bool:
    """Return whether a network is one of timm's, which knows its architecture."""
    cfg = getattr(model, "pretrained_cfg", None)
    return hasattr(model, "get_classifier") and bool(_settings(cfg).get("architecture"))


def timm_names(model: nn.Module) -> dict[int, str] | None:
    """Return the names of a timm network's classes: ImageNet's, for a number of classes that one of its sets has."""
    count = getattr(model, "num_classes", 0)
    if not is_timm_module(model) or count != _settings(model.pretrained_cfg).get("num_classes"):
        return None
    config = TimmWrapperConfig.from_dict({"num_classes": count})
    names = {int(number): name for number, name in (config.id2label or {}).items()}
    return None if names.get(0) == "LABEL_0" else names


def wrap_timm(module: nn.Module) -> TimmClassifier:
    """Wrap a network of timm, which is not copied, so that it is saved as one with a name is.

    Args:
        module: what `timm.create_model` made, with a classifier.

    Raises:
        ValueError: if what is saved could not be loaded: the architecture, built by its name, is another network.
    """
    cfg = _settings(module.pretrained_cfg)
    arguments = _arguments(module, cfg)
    channels = arguments.get("in_chans", cfg["input_size"][0])
    height, width = arguments.get("img_size", cfg["input_size"][1:])
    kept = {key: value for key, value in cfg.items() if key not in ("num_classes", "label_offset")}
    kept["input_size"] = [channels, height, width]
    names = timm_names(module)
    content = {"architecture": cfg["architecture"], "pretrained_cfg": kept, "model_args": arguments}
    config = TimmWrapperConfig.from_dict(
        content | {"num_classes": module.num_classes, "label_names": names and list(names.values())}
    )
    with torch.random.fork_rng(devices=[]):
        try:
            wrapper = TimmClassifier(config)
            _check_same(wrapper.timm_model, module, torch.rand(1, channels, height, width))
        except REFUSALS as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"The {type(module).__name__} can't be built again from its name {cfg['architecture']!r} and "
                f"{arguments or 'no other settings'} ({reason}), so that nobody could load it once it is saved. Build "
                "it by its name alone (`num_classes`, `in_chans`, `img_size` and "
                "`global_pool` may be set), or pass a classifier of transformers."
            ) from error
    wrapper.timm_model = module
    wrapper.training = module.training
    return wrapper


def has_learnt(model: nn.Module) -> bool:
    """Return whether a network has been trained, by its normalisation: what scales it starts with is constant."""
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_mean.any():
            return True
        if isinstance(layer, nn.Linear | _ConvNd):
            continue
        scales = (getattr(layer, name, None) for name in _SCALES)
        vectors = [each for each in scales if isinstance(each, nn.Parameter) and 0 < each.numel() == max(each.shape)]
        if any((each != each.flatten()[0]).any() for each in vectors if each.numel() > 1):
            return True
    return False


def _settings(cfg: Any) -> dict[str, Any]:
    if cfg is None:
        return {}
    return dict(cfg) if isinstance(cfg, dict) else cfg.to_dict()


def _arguments(module: nn.Module, cfg: dict[str, Any]) -> dict[str, Any]:
    """Return what a network was built with besides its number of classes, as far as it can be read from it."""
    with torch.random.fork_rng(devices=[]):
        usual = timm.create_model(cfg["architecture"], num_classes=module.num_classes)
    here, there = _readable(module, cfg), _readable(usual, cfg)
    return {name: value for name, value in here.items() if value is not None and value != there[name]}


def _readable(module: nn.Module, cfg: dict[str, Any]) -> dict[str, Any]:
    first = cfg.get("first_conv")
    first = first[0] if isinstance(first, list | tuple) else first
    try:
        weight = module.get_submodule(first).weight if first else None
    except AttributeError:
        weight = None
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    pools = [getattr(part, "global_pool", None) for part in (module, getattr(module, "head", None))]
    pool = next((each for each in pools if each is not None), None)
    pool = getattr(pool, "pool_type", pool)
    return {
        "in_chans": weight.shape[1] if isinstance(weight, Tensor) and weight.ndim == 4 else None,
        "img_size": list(size) if isinstance(size, list | tuple) else None,
        "global_pool": pool if isinstance(pool, str) else None,
    }


@torch.no_grad()
def _check_same(rebuilt: nn.Module, module: nn.Module, image: Tensor) -> None:
    """Make sure that a network built by its name is the given one, once it has its weights.

    Raises:
        RuntimeError: if its weights or its answer are others.
    """
    rebuilt.load_state_dict(module.state_dict())
    parameter = next(module.parameters())
    image = image.to(parameter.device, parameter.dtype)
    modes = {layer: layer.training for layer in module.modules()}
    given, other = (network.eval()(image) for network in (module, rebuilt.to(parameter.device, parameter.dtype)))
    for layer, mode in modes.items():
        layer.training = mode
    if given.shape != other.shape or not torch.allclose(given, other, rtol=1e-3, atol=1e-4):
        raise RuntimeError("with the same weights it gives other logits")
