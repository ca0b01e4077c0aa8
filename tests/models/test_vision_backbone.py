"""Networks with and without a head in folders: what they are is what their weights are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor

from exrep_hf.models import has_classifier, load_teacher_network
from exrep_hf.teacher import OnlineTeacher
from tests.families import POOLING, SIZE, TIMM, TOWERS, naflex, of_timm, of_transformers, size_of, two_towers

Weights = dict[str, Tensor]
PIXELS = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def saved(model: Any, folder: Path, edit: Callable[[Weights], Weights] | None = None, **config: Any) -> Path:
    """A folder of a model, some of whose weights or settings were changed afterwards."""
    if isinstance(model, transformers.PreTrainedModel):
        model.save_pretrained(folder)
    else:
        save_for_hf(model, str(folder), model_args={"img_size": SIZE}, safe_serialization=True)
    if edit is not None:
        weights = edit(load_file(folder / "model.safetensors"))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if part not in name}


def answer(folder: Path, features: Any = "own") -> tuple[OnlineTeacher, Any]:
    teacher = OnlineTeacher.from_pretrained(folder, features=features)
    return teacher, teacher({"pixel_values": PIXELS})


@pytest.mark.parametrize("name", POOLING)
def test_backbones_of_transformers(name: str, tmp_path: Path) -> None:
    """Features of what was saved, and no logits."""
    model = POOLING[name]()
    teacher, found = answer(saved(model, tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(found.features, model(PIXELS).pooler_output.flatten(1))
    assert (teacher.num_labels, found.logits) == (None, None)
    assert type(teacher.model) is type(model)


@pytest.mark.parametrize("family", TOWERS)
def test_two_towers(family: str, tmp_path: Path) -> None:
    """The tower for images, known by the name of the whole; a lack in the text is no lack."""
    model = two_towers(family)
    teacher, found = answer(saved(model, tmp_path, without("text_model.final")))
    with torch.no_grad():
        torch.testing.assert_close(found.features, model.vision_model(PIXELS).pooler_output)
    assert type(teacher.model) is type(model.vision_model)
    assert teacher.model.name_or_path == str(tmp_path)
    of_images = [name for name in load_file(tmp_path / "model.safetensors") if "vision" in name and ".0." in name]
    with pytest.raises(
        ValueError, match=r"no weights for vision_model\..*; expected exactly the weights of a \w+Model"
    ):
        load_teacher_network(saved(model, tmp_path, without(of_images[0])))


def test_a_tower_with_its_projection(tmp_path: Path) -> None:
    """`CLIPVisionModelWithProjection` has the tower of `CLIPVisionModel`, and what maps it to the text's features."""
    model = transformers.CLIPVisionModelWithProjection(of_transformers("CLIPVisionModel").config).eval()
    _, found = answer(saved(model, tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(found.features, model.vision_model(PIXELS).pooler_output)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_networks_of_timm(name: str, tmp_path: Path) -> None:
    """With no classes; with classes; and with classes whose head's weights are not there."""
    assert name in TIMM and size_of(name) == SIZE
    options: Any = {"img_size": SIZE} if name == "test_vit" else None
    for count, edit, expected in ((0, None, None), (5, None, 5), (5, without("head.fc"), None)):
        model = of_timm(name, count)
        edit = edit if edit is None or name == "test_convnext" else without({"test_vit": "head."}.get(name, "fc."))
        folder = tmp_path / f"{count}{expected}"
        save_for_hf(model, str(folder), model_args=options, safe_serialization=True)
        if edit is not None:
            save_file(edit(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        network = load_teacher_network(folder)
        teacher = OnlineTeacher(network, transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE}))
        found = teacher({"pixel_values": PIXELS})
        with torch.no_grad():
            torch.testing.assert_close(
                found["features"], model.forward_head(model.forward_features(PIXELS), pre_logits=True)
            )
        assert teacher.num_labels == expected and (found.logits is None) == (expected is None)
        assert network.name_or_path == str(folder)


@pytest.mark.parametrize("name", ["ResNet", "Dinov2", "ConvNext", "Swin", "Beit"])
@pytest.mark.parametrize("architectures", [True, False], ids=["named", "not_named"])
def test_a_classifier_without_the_weights_of_its_head(name: str, architectures: bool, tmp_path: Path) -> None:
    """A head that was drawn at random teaches noise; the network below it is what was trained."""
    model = of_transformers(f"{name}ForImageClassification")
    config = {} if architectures else {"architectures": None}
    teacher, found = answer(saved(model, tmp_path, without("classifier"), **config))
    with torch.no_grad():
        torch.testing.assert_close(found.features, model.base_model(PIXELS).pooler_output.flatten(1))
    assert teacher.num_labels is None and not has_classifier(teacher.model)
    assert teacher.model.name_or_path == str(tmp_path)


def test_a_classifier_with_its_head(tmp_path: Path) -> None:
    """Also where its configuration names the network below: the weights decide."""
    model = of_transformers("ResNetForImageClassification")
    for architectures in (["ResNetForImageClassification"], ["ResNetModel"], None):
        teacher, found = answer(saved(model, tmp_path, architectures=architectures))
        with torch.no_grad():
            assert torch.equal(found.logits, model(PIXELS).logits)
        assert teacher.id2label == model.config.id2label


def test_half_a_head(tmp_path: Path) -> None:
    """A head without its bias is a damaged classifier, and no network without a head."""
    folder = saved(of_transformers("ResNetForImageClassification"), tmp_path, without("classifier.1.bias"))
    with pytest.raises(ValueError, match=r"no weights for classifier\.1\.bias; expected exactly"):
        load_teacher_network(folder)


def test_a_pooler_without_weights_is_not_drawn(tmp_path: Path) -> None:
    """Transformers would fill it with noise, and hand that out as the network's own features."""
    model = of_transformers("ViTModel")
    folder = saved(model, tmp_path, without("pooler"))
    with pytest.raises(
        ValueError, match=r"'own', and ViTModel has no pooler with weights\. Take .*'cls' or features="
    ):
        OnlineTeacher.from_pretrained(folder)
    _, found = answer(folder, "cls")
    with torch.no_grad():
        assert torch.equal(found.features, model(PIXELS).last_hidden_state[:, 0])
    # The classifier of this family has none either.
    below = saved(of_transformers("ViTForImageClassification"), tmp_path / "below", without("classifier"))
    with pytest.raises(ValueError, match=r"no pooler with weights"):
        OnlineTeacher.from_pretrained(below)


@pytest.mark.parametrize(
    ("make", "edit", "message"),
    [
        (lambda: of_transformers("Dinov2Model"), without("layer.0.mlp.fc1"), r"no weights for .*mlp\.fc1\.bias"),
        (lambda: of_transformers("ViTModel"), lambda w: w | {"x.weight": torch.zeros(2)}, r"doesn't have: x\.weight"),
        (lambda: of_transformers("SiglipVisionModel"), without("head."), r"no weights for head\.attention"),
        (lambda: of_timm("test_vit"), without("blocks.0.mlp.fc1"), r"no weights for timm_model\.blocks\.0\.mlp"),
        (
            lambda: of_timm("test_vit"),
            lambda w: w | {"head.weight": torch.zeros(5, 64)},
            r"doesn't have: timm_model\.head\.weight; expected exactly the weights of a TimmWrapperModel",
        ),
        (
            lambda: of_transformers("ResNetForImageClassification"),
            lambda w: {name.replace("classifier", "head"): value for name, value in w.items()},
            r"no weights for classifier\.1\.bias, .*; and weights that the model doesn't have: head\.1",
        ),
    ],
    ids=range(6),
)
def test_other_weights_are_refused(make: Any, edit: Any, message: str, tmp_path: Path) -> None:
    """Transformers draws what is missing, leaves out what is too much, and only logs it."""
    folder = saved(make(), tmp_path, edit)
    with pytest.raises(ValueError, match=message) as caught:
        OnlineTeacher.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_models_of_no_images(tmp_path: Path) -> None:
    """Told before their weights, which may be many, are loaded."""
    config = transformers.BertConfig(architectures=["BertModel"])
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a model of the type 'bert', which is shown no images. Take an image cla"):
        load_teacher_network(tmp_path)
    with pytest.raises(ValueError, match=r"takes patches \(`spatial_shapes`\); .* for images of one size"):
        OnlineTeacher.from_pretrained(saved(naflex(), tmp_path / "naflex"))
    with pytest.raises(ValueError, match="Weights of a network could not be loaded from 'nobody/nothing'"):
        load_teacher_network("nobody/nothing")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    """Asked for, or as the weights were saved."""
    folder = saved(of_transformers("Dinov2Model"), tmp_path)
    network = load_teacher_network(folder, dtype=dtype)
    assert {each.dtype for each in network.parameters()} == {dtype}
    network.save_pretrained(folder)  # type: ignore[operator]
    assert {each.dtype for each in load_teacher_network(folder).parameters()} == {dtype}
    found = OnlineTeacher(network, features="mean")({"pixel_values": PIXELS})
    assert found["features"].dtype == torch.float32
