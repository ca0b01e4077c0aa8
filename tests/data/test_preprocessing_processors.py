import tracemalloc

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import (
    BitImageProcessor,
    ConvNextImageProcessor,
    DetrImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    ViTImageProcessor,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

from exrep_hf.data.preprocessing import Preprocessing
from exrep_hf.data.processor_settings import processor_settings

SMALL = {"height": 24, "width": 24}


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (EfficientNetImageProcessor(size=SMALL, rescale_offset=True), "rescale_offset=True, expected False"),
        (ViTImageProcessor(size=SMALL, do_resize=False), "do_resize=False, expected True"),
        (ViTImageProcessor(size=SMALL, do_rescale=False), "do_rescale=False, expected True"),
        (ViTImageProcessor(size=SMALL, rescale_factor=1 / 127.5), "expected 1/255"),
        (ViTImageProcessor(size=SMALL, resample=4), "resample=4, expected one of"),
        (BitImageProcessor(do_center_crop=False), "without do_center_crop"),
        (DetrImageProcessor(do_pad=False), "expected shortest_edge alone"),
    ],
)
def test_options_that_cannot_be_expressed_are_refused(processor: BaseImageProcessor, message: str) -> None:
    """Prevents dropping an option in silence, which costs accuracy and nothing else tells."""
    with pytest.raises(ValueError, match=message):
        processor_settings(processor)


def every_processor() -> list[BaseImageProcessor]:
    """The default processor of each architecture with a classifier in transformers, on either backend."""
    names: set[str] = set()
    for family in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        backends = IMAGE_PROCESSOR_MAPPING_NAMES.get(family) or {}
        names |= {name for name in (backends.values() if isinstance(backends, dict) else backends) if name}
    # These have no defaults: ImageGPT's colours and timm's config.
    made_of_settings = ("ImageGPTImageProcessor", "ImageGPTImageProcessorPil", "TimmWrapperImageProcessor")
    return [getattr(transformers, name)() for name in sorted(names) if name not in made_of_settings]


REFUSED = {
    "DonutImageProcessor": "do_pad=True, expected False",
    "MobileViTImageProcessor": "gives the channels as BGR .do_flip_channel_order=True., expected RGB",
    "PerceiverImageProcessor": "crop_size=.*256.*, larger than its size=.*224.*: it pads images, or crops them before",
    "PPLCNetImageProcessor": "changes images in a way that its options do not tell",
    "Siglip2ImageProcessor": "says nothing of the size of its images",
    "TextNetImageProcessor": "without do_center_crop",
}


@pytest.mark.parametrize("processor", every_processor(), ids=lambda processor: type(processor).__name__)
def test_every_processor_of_a_classifier_is_followed_or_refused(processor: BaseImageProcessor) -> None:
    """Prevents bare assertions, misleading remedies, and other pixels than a model's own."""
    refusal = REFUSED.get(type(processor).__name__.removesuffix("Pil"))
    if refusal is not None:
        with pytest.raises(ValueError, match=f"^{type(processor).__name__} .*{refusal}"):
            Preprocessing.from_image_processor(processor)
        return
    preprocessing = Preprocessing.from_image_processor(processor)
    rows, columns = np.mgrid[0:500, 0:700]
    image = Image.fromarray(np.stack([rows // 2, columns // 3, (rows + columns) // 5], -1).astype(np.uint8))
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    received = preprocessing.evaluation(image)
    assert received.shape == expected.shape
    levels = (received - expected).abs() * torch.tensor(preprocessing.std)[:, None, None] * 255
    assert levels.mean() < 1


def test_following_the_remedies_helps() -> None:
    """Prevents a remedy that ends in the next refusal."""
    size, crop = {"shortest_edge": 288}, {"height": 256, "width": 256}
    rgb = MobileViTImageProcessor(size=size, crop_size=crop, do_flip_channel_order=False)
    found = Preprocessing.from_image_processor(rgb)
    assert found == Preprocessing(256, 256, 288, "bicubic", (0.0,) * 3, (1.0,) * 3)
    assert Preprocessing.from_image_processor(found.to_image_processor()) == found


def test_levit_enlarges_the_size_it_is_given() -> None:
    """Prevents crops of another size: its code resizes the shorter edge to 256 / 224 of what its options say."""
    crop = {"height": 112, "width": 112}
    processor = LevitImageProcessor(size={"shortest_edge": 112}, crop_size=crop)
    assert Preprocessing.from_image_processor(processor).resize == 128


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 200_000, "width": 200_000}),
        BitImageProcessor(size={"shortest_edge": 200_000}),
        TimmWrapperImageProcessor({"input_size": (3, 200_000, 200_000), "crop_pct": 1.0}),
        ConvNextImageProcessor(size={"shortest_edge": 200_000}),
    ],
    ids=["vit", "bit", "timm", "convnext"],
)
def test_sizes_that_fit_nowhere_are_refused_at_once(processor: BaseImageProcessor) -> None:
    """Prevents a probe image of 480 GB."""
    tracemalloc.start()
    with pytest.raises(ValueError, match="200000.*; expected at most 8192 pixels"):
        Preprocessing.from_image_processor(processor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("crop_mode", "crop_pct", "resize"), [("center", 0.875, 36), ("squash", 0.9, (35, 35)), ("squash", 1.0, None)]
)
def test_timm_crops_are_translated(crop_mode: str, crop_pct: float, resize: object) -> None:
    """Prevents a lost crop_pct: timm rounds 32 / 0.875 down to 36."""
    config = {
        "input_size": (3, 32, 32),
        "crop_mode": crop_mode,
        "crop_pct": crop_pct,
        "interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.2),
    }
    preprocessing = Preprocessing.from_image_processor(TimmWrapperImageProcessor(config))
    assert preprocessing == Preprocessing(32, 32, resize, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"crop_mode": "border"}, {"crop_mode": "center", "input_size": (3, 32, 48)}],
    ids=["border", "oblong"],
)
def test_timm_crops_that_cannot_be_expressed_are_refused(changes: dict) -> None:
    """Prevents another crop than the model's own."""
    config = {"input_size": (3, 32, 32), "crop_pct": 0.9, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(ValueError, match="crop_mode=.* is not supported"):
        Preprocessing.from_image_processor(TimmWrapperImageProcessor({**config, **changes}))


@pytest.mark.parametrize("crop_pct", [1.15, -0.5])
def test_timm_crops_wider_than_the_image_are_refused(crop_pct: float) -> None:
    """Prevents lost margins: volo_d4_448 has 1.15, for which timm pads with black."""
    with pytest.raises(ValueError, match=f"timm has crop_pct={crop_pct}.*expected a value above 0 and up to 1"):
        processor_settings(TimmWrapperImageProcessor({"input_size": (3, 32, 32), "crop_pct": crop_pct}))
