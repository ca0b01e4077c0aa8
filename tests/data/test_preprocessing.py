from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    EfficientNetImageProcessor,
    ViTImageProcessor,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image

from exrep_hf.data.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo(height: int = 57, width: int = 83, mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    "processor",
    [
        BitImageProcessor(size={"shortest_edge": 37}, crop_size={"height": 32, "width": 30}),
        ViTImageProcessor(size={"height": 24, "width": 32}),
        ConvNextImageProcessor(size={"shortest_edge": 28}),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
        DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size={"height": 33, "width": 33}),
        EfficientNetImageProcessor(size={"height": 31, "width": 31}, resample=0),
        EfficientNetImageProcessor(size={"height": 31, "width": 31}, include_top=False, resample=1),
        ViTImageProcessor(size={"height": 24, "width": 24}, do_normalize=False),
    ],
    ids=["bit", "vit", "convnext-crop", "convnext-384", "deit", "efficientnet", "no-top-lanczos", "no-normalize"],
)
def test_evaluation_equals_the_processor_it_was_read_from(processor: BaseImageProcessor) -> None:
    """Prevents judging a model on pixels that differ from those its own processor makes."""
    preprocessing = Preprocessing.from_image_processor(processor)
    for image in (photo(57, 83), photo(90, 61)):
        expected = processor(image, return_tensors="pt")["pixel_values"][0]
        assert torch.allclose(preprocessing.evaluation(image), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("interpolation", ["nearest-exact", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", [None, 35, (33, 41)])
def test_saved_processor_gives_the_same_bits(
    resize: int | tuple[int, int] | None, interpolation: str, tmp_path: Path
) -> None:
    """Prevents a published processor whose pixels differ from those our reported accuracy was measured on."""
    preprocessing = Preprocessing(30, 28, resize, interpolation, MEAN, STD)
    preprocessing.to_image_processor().save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").is_file()
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    for image in (photo(57, 84), photo(91, 61), photo(8, 8, "L")):
        assert torch.equal(preprocessing.evaluation(image), processor(image, return_tensors="pt")["pixel_values"][0])


def test_saved_processor_is_read_back_as_the_same_settings(tmp_path: Path) -> None:
    """Prevents settings that drift with every save and load."""
    for preprocessing in (
        Preprocessing(30, 28, 35, "lanczos", MEAN, STD),
        Preprocessing(30, 28, None, "bilinear", MEAN, STD),
        Preprocessing(16, 16, (20, 24), "bicubic", (0.5,), (0.25,)),
    ):
        preprocessing.to_image_processor().save_pretrained(tmp_path)
        assert Preprocessing.from_image_processor(AutoImageProcessor.from_pretrained(tmp_path)) == preprocessing


def test_grey_model_gets_one_channel() -> None:
    """Prevents three channels for a model with one, and a wrong mean: (128/255 - 0.5) / 0.25 = 0.00784."""
    preprocessing = Preprocessing(8, 8, None, "bilinear", (0.5,), (0.25,))
    pixels = preprocessing.evaluation(Image.new("L", (8, 8), 128))
    assert pixels.shape == (1, 8, 8)
    assert torch.allclose(pixels, torch.full((1, 8, 8), (128 / 255 - 0.5) / 0.25), atol=1e-6)
    assert torch.equal(
        pixels, preprocessing.to_image_processor()(Image.new("L", (8, 8), 128), return_tensors="pt")["pixel_values"][0]
    )


def test_normalisation_has_each_channel_its_own_mean() -> None:
    """Prevents swapped channels: pure red is (1 - mean) / std in the first, -mean / std in the others."""
    pixels = Preprocessing(4, 4, None, "bilinear", MEAN, STD).evaluation(Image.new("RGB", (9, 7), (255, 0, 0)))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(pixels.mean((1, 2)), torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1", "CMYK", "LA"])
def test_every_8_bit_mode_becomes_rgb(mode: str) -> None:
    """Prevents a crash, or a fourth channel, on the odd image of a folder."""
    preprocessing = Preprocessing(16, 16, None, "bilinear", MEAN, STD)
    image = photo(mode=mode)
    assert torch.equal(preprocessing.evaluation(image), preprocessing.evaluation(image.convert("RGB")))


def test_16_bit_images_are_refused() -> None:
    """Prevents 16-bit scans that Pillow would clip to white."""
    image = Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16))
    with pytest.raises(ValueError, match="more than 8 bits"):
        Preprocessing(8, 8, None, "bilinear", MEAN, STD).evaluation(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "at least 1 pixel"),
        ({"resize": 0}, "at least 1 pixel"),
        ({"width": 200_000, "resize": None}, "at most 8192 pixels"),
        ({"resize": 200_000}, "at most 8192 pixels"),
        ({"height": "32"}, "whole numbers of pixels"),
        ({"width": 32.5}, "whole numbers of pixels"),
        ({"mean": (0.5, float("nan"), 0.5)}, "expected finite values"),
        ({"std": (0.2, float("nan"), 0.2)}, "expected finite values"),
        ({"resize": 20}, "smaller than the input"),
        ({"resize": (40, 31)}, "smaller than the input"),
        ({"interpolation": "cubic"}, "expected one of nearest-exact"),
        ({"mean": (0.5,)}, "one value a channel"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5)}, "one value a channel"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` above 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict, message: str) -> None:
    """Prevents infinities and black borders from settings that make no sense."""
    settings = {"height": 32, "width": 32, "resize": 36, "interpolation": "bicubic", "mean": MEAN, "std": STD}
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{**settings, **changes})


def test_a_pipeline_reads_a_transparent_file_as_we_do(tmp_path: Path) -> None:
    """Prevents other pixels at inference: pipelines drop transparency before the processor sees the image."""
    preprocessing = Preprocessing(16, 16, 20, "bicubic", MEAN, STD)
    image = photo()
    image.putalpha(photo(mode="L", seed=1))
    image.save(tmp_path / "image.png")
    seen = preprocessing.to_image_processor()(load_image(str(tmp_path / "image.png")), return_tensors="pt")
    assert torch.equal(preprocessing.evaluation(Image.open(tmp_path / "image.png")), seen["pixel_values"][0])
