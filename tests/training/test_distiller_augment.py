"""A trained distiller on images of any kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf import DistillerAugment, ExRepForImageClassification
from exrep_hf.data import Preprocessing

SIZE = 16
PREPROCESSING = Preprocessing(SIZE, SIZE, None, "bilinear", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


@pytest.fixture
def model() -> ExRepForImageClassification:
    """A student whose distiller says something."""
    names = {0: "a", 1: "b", 2: "c"}
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", id2label=names)
    backbone = ResNetForImageClassification(config)
    student = ExRepForImageClassification.from_backbone(
        backbone, distiller="light", distiller_channels=4, image_size=SIZE
    )
    assert student.input_distiller is not None
    torch.nn.init.normal_(student.input_distiller.to_residual.weight, std=0.3)
    return student.eval()


def test_at_the_distillers_own_size_it_is_x_plus_residual(model: ExRepForImageClassification) -> None:
    """A residual in the wrong units would be a little noise, and nothing would tell."""
    image = torch.rand(2, 3, SIZE, SIZE) * 0.2 + 0.4
    mean, std = (torch.tensor(values)[:, None, None] for values in (PREPROCESSING.mean, PREPROCESSING.std))
    with torch.no_grad():
        expected = (image + model.residual((image - mean) / std) * std).clamp(0, 1)
    received = DistillerAugment(model, 1.0, PREPROCESSING)(image)
    assert not torch.allclose(received, image, atol=1e-2)
    torch.testing.assert_close(received, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (7, 33), (40, 21)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_size_and_mode(model: ExRepForImageClassification, size: tuple[int, int], mode: str) -> None:
    """What comes out fits where the image came from; with an untrained distiller it is the image itself."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    out = DistillerAugment(model, 1.0, PREPROCESSING)(image)
    assert isinstance(out, Image.Image)
    assert (out.size, out.mode) == (image.size, mode)
    tensor = torch.from_numpy(np.array(image)).view(*size, -1).permute(2, 0, 1)
    out_tensor = DistillerAugment(model, 1.0, PREPROCESSING)(tensor)
    assert isinstance(out_tensor, torch.Tensor)
    assert (out_tensor.shape, out_tensor.dtype) == (tensor.shape, torch.uint8)


def test_residuals_are_clamped_before_they_are_resized(model: ExRepForImageClassification) -> None:
    """Values beyond white, mixed into their neighbours by the resize, would burn out edges."""
    assert model.input_distiller is not None
    torch.nn.init.normal_(model.input_distiller.to_residual.weight, std=3.0)
    image = torch.rand(2, 3, 9, 30) * 0.2 + 0.8
    mean, std = (torch.tensor(values)[:, None, None] for values in (PREPROCESSING.mean, PREPROCESSING.std))
    resample = InterpolationMode.BICUBIC
    with torch.no_grad():
        resized = F.resize(image, [SIZE, SIZE], resample, antialias=True)
        distilled = (resized + model.residual((resized - mean) / std) * std).clamp(0, 1)
    expected = F.resize(distilled, [9, 30], resample, antialias=True).clamp(0, 1)
    torch.testing.assert_close(DistillerAugment(model, 1.0, PREPROCESSING)(image), expected, atol=1e-5, rtol=0)


def test_zero_residual_changes_nothing(model: ExRepForImageClassification) -> None:
    """Resizing to the same size must not blur."""
    assert model.input_distiller is not None
    torch.nn.init.zeros_(model.input_distiller.to_residual.weight)
    image = torch.randint(0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8)
    out = DistillerAugment(model, 1.0, PREPROCESSING)(image)
    assert isinstance(out, torch.Tensor)
    assert (out.int() - image.int()).abs().max() <= 1


def test_probability(model: ExRepForImageClassification) -> None:
    """Each image of a batch is drawn by itself."""
    images = torch.rand(400, 3, 8, 8)
    out = DistillerAugment(model, 0.25, PREPROCESSING)(images)
    assert isinstance(out, torch.Tensor)
    changed = (out != images).flatten(1).any(1).float().mean()
    assert 0.17 < changed < 0.33
    assert DistillerAugment(model, 0.0, PREPROCESSING)(images) is images
    image = Image.new("RGB", (9, 9))
    assert DistillerAugment(model, 0.0, PREPROCESSING)(image) is image


def test_from_a_saved_student(model: ExRepForImageClassification, tmp_path: Path) -> None:
    """Size and normalisation come from the processor beside the weights."""
    model.save_pretrained(tmp_path)
    PREPROCESSING.to_image_processor().save_pretrained(tmp_path)
    augment = DistillerAugment(ExRepForImageClassification.from_pretrained(tmp_path), 1.0)
    image = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(augment(image), DistillerAugment(model, 1.0, PREPROCESSING)(image))


def test_bad_arguments(model: ExRepForImageClassification) -> None:
    plain = ExRepForImageClassification.from_backbone(model.without_distiller(), distiller=None)
    with pytest.raises(ValueError, match="has no Input Distiller"):
        DistillerAugment(plain)
    with pytest.raises(ValueError, match="`p` is 1.5; expected a probability"):
        DistillerAugment(model, 1.5, PREPROCESSING)
    with pytest.raises(ValueError, match="mode 'I;16' has more than 8 bits"):
        DistillerAugment(model, 1.0, PREPROCESSING)(Image.new("I;16", (9, 9)))
    with pytest.raises(ValueError, match=r"the shape \(8, 8\)"):
        DistillerAugment(model, 1.0, PREPROCESSING)(torch.rand(8, 8))
