import pytest
from transformers import (
    BitImageProcessor,
    DetrImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    ViTImageProcessor,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

from exrep_hf.data.preprocessing import Preprocessing, processor_settings

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


@pytest.mark.parametrize(
    "processor",
    [LevitImageProcessor(), MobileViTImageProcessor(size={"shortest_edge": 256})],
    ids=["levit", "mobilevit"],
)
def test_processors_with_code_of_their_own_are_refused(processor: BaseImageProcessor) -> None:
    """Prevents other crops (LeViT) and channel orders (MobileViT: BGR) that no option we read would tell."""
    with pytest.raises(ValueError, match="in a way that its options do not tell"):
        Preprocessing.from_image_processor(processor)


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
    "changes", [{"crop_mode": "border"}, {"crop_mode": "center", "input_size": (3, 32, 48)}], ids=["border", "oblong"]
)
def test_timm_crops_that_cannot_be_expressed_are_refused(changes: dict) -> None:
    """Prevents another crop than the model's own."""
    config = {"input_size": (3, 32, 32), "crop_pct": 0.9, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(ValueError, match="crop_mode=.* is not supported"):
        Preprocessing.from_image_processor(TimmWrapperImageProcessor({**config, **changes}))
