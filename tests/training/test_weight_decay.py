"""Which parameters of a student are decayed."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification

from exrep_hf import ExRepForImageClassification
from exrep_hf.models import load_classifier
from exrep_hf.training.weight_decay import decayed_parameters

MakeTrainer = Callable[..., Any]


def network(name: str) -> Any:
    if name == "vit":
        config = ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=20,
            image_size=16,
            patch_size=8,
            id2label=dict(enumerate("abcd")),
        )
        return ViTForImageClassification(config)
    if name == "convnext":
        return ConvNextForImageClassification(
            ConvNextConfig(num_stages=2, hidden_sizes=[8, 12], depths=[1, 1], id2label=dict(enumerate("abcd")))
        )
    return load_classifier(f"timm/{name}", num_labels=4, pretrained=False)


def names(network: Any) -> dict[str, set[str]]:
    decayed = decayed_parameters(network)
    return {
        kind: {name for name, parameter in network.named_parameters() if (parameter in decayed) is wanted}
        for kind, wanted in (("decayed", True), ("others", False))
    }


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("test_resnet", set()),
        ("test_efficientnet", set()),
        ("test_convnext", set()),
        ("test_vit", {"timm_model.cls_token", "timm_model.pos_embed"}),
        ("vit", {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}),
        ("convnext", set()),
    ],
)
def test_layers_are_decayed_and_nothing_else(name: str, others: set[str]) -> None:
    """A batch norm's scale or a position embedding that shrinks makes another network, not a smoother one."""
    model = network(name)
    found = names(model)
    layers = {
        f"{path}.weight"
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.modules.conv._ConvNd)
    }
    assert found["decayed"] == layers and len(layers) > 3
    shapes = {path: parameter.ndim for path, parameter in model.named_parameters()}
    assert {path for path in found["others"] if shapes[path] > 1} == others
    assert {path for path, dimensions in shapes.items() if dimensions == 1} <= found["others"]


@pytest.mark.parametrize(("name", "part"), [("swinv2_tiny_window8_256", "cpb_mlp.0.weight"), ("levit_128s", "biases")])
def test_what_timm_lists(name: str, part: str) -> None:
    """Timm lists parameters, and whole layers, whose weights only the list tells from others."""
    with torch.device("meta"):
        model = timm.create_model(name)
    found = names(model)
    assert [path for path in found["others"] if path.endswith(part)]
    assert not [path for path in found["decayed"] if path.endswith(part)]
    assert len(found["decayed"]) > 40


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "convnext", "vit"])
def test_values_after_steps_without_a_gradient(name: str, make_trainer: MakeTrainer) -> None:
    """Decay alone moves weights where gradients are zero: by `1 - lr · weight_decay`, or not at all."""
    student = ExRepForImageClassification.from_backbone(network(name), "light", distiller_channels=4, image_size=16)
    trainer = make_trainer(
        model=student, learning_rate=0.5, weight_decay=0.2, critic_learning_rate=0.25, classes="position"
    )
    objective = trainer.distillation_objective
    optimizer = trainer.create_optimizer()
    before = {path: parameter.detach().clone() for path, parameter in objective.named_parameters()}
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {f"student.{path}" for path in names(student)["decayed"]}
    assert "student.input_distiller.embed.weight" in decayed
    for path, parameter in objective.named_parameters():
        expected = before[path] * 0.9 if path in decayed else before[path]
        torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=0, msg=path)
    beside = [path for path in before if not path.startswith("student.")]
    assert {path.removeprefix("terms.").split(".")[0] for path in beside} == {"crd", "adversarial"}
    assert any(before[path].ndim > 1 for path in beside), "the test needs weights that would be decayed"
