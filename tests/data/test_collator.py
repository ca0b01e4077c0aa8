import numpy as np
import pytest
import torch

from exrep_hf.data.collator import collate_distillation


def test_every_key_is_stacked_in_order() -> None:
    """Prevents items that change places, or stored teacher outputs that are dropped."""
    items = [
        {
            "pixel_values": torch.full((3, 4, 4), float(i)),
            "teacher_pixel_values": torch.full((3, 6, 6), float(10 + i)),
            "labels": i,
            "sample_index": 100 + i,
            "teacher_logits": np.full(5, i, dtype=np.float32),
            "teacher_features": [float(i)] * 7,
            "file": "a.png",
        }
        for i in range(3)
    ]
    batch = collate_distillation(items)
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "pixel_values": (3, 3, 4, 4),
        "teacher_pixel_values": (3, 3, 6, 6),
        "labels": (3,),
        "sample_index": (3,),
        "teacher_logits": (3, 5),
        "teacher_features": (3, 7),
    }
    assert batch["labels"].tolist() == [0, 1, 2] and batch["labels"].dtype == torch.int64
    assert batch["sample_index"].tolist() == [100, 101, 102] and batch["sample_index"].dtype == torch.int64
    for key in ("teacher_logits", "teacher_features"):
        assert batch[key].dtype == torch.float32 and batch[key][:, 0].tolist() == [0.0, 1.0, 2.0]
    assert batch["teacher_pixel_values"][:, 0, 0, 0].tolist() == [10.0, 11.0, 12.0]


@pytest.mark.parametrize("label", [3, np.int32(3), torch.tensor(3, dtype=torch.int32)])
def test_label_is_renamed_to_labels(label: object) -> None:
    """Prevents a label term without labels for torch data sets that call the column 'label'."""
    batch = collate_distillation([{"pixel_values": np.zeros((1, 2, 2), dtype=np.float32), "label": label}] * 2)
    assert batch["labels"].tolist() == [3, 3] and batch["labels"].dtype == torch.int64


def test_missing_pixel_values_names_the_keys() -> None:
    """Prevents a KeyError deep in the model for a data set that was not transformed."""
    with pytest.raises(ValueError, match=r"no 'pixel_values', only \['image', 'label'\]"):
        collate_distillation([{"image": 0, "label": 1}])


def test_items_that_disagree_are_refused() -> None:
    """Prevents a batch in which some rows have lost their label."""
    with pytest.raises(ValueError, match="item 1 has"):
        collate_distillation([{"pixel_values": torch.zeros(1), "labels": 0}, {"pixel_values": torch.zeros(1)}])


def test_shapes_that_disagree_are_named() -> None:
    """Prevents torch's message without the key's name."""
    with pytest.raises(ValueError, match=r"'pixel_values' cannot be stacked .*\(1,\), \(2,\)"):
        collate_distillation([{"pixel_values": torch.zeros(1)}, {"pixel_values": torch.zeros(2)}])
    with pytest.raises(ValueError, match="'labels' cannot be stacked"):
        collate_distillation([{"pixel_values": torch.zeros(1), "labels": "cat"}])


def test_pixels_are_stacked_as_they_lie() -> None:
    """Decoded images have a pixel's channels side by side; to turn them is for the device."""
    pixels = torch.randint(0, 256, (4, 6, 5, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for images in (pixels, pixels.contiguous()):
        batch = collate_distillation([{"pixel_values": image} for image in images])["pixel_values"]
        assert torch.equal(batch, pixels) and batch.is_contiguous(memory_format=torch.channels_last)


def test_pixels_and_normalised_values_are_not_one_batch() -> None:
    """Torch would make floats of the pixels, which would pass as normalised."""
    items = [{"pixel_values": torch.zeros(3, 4, 4)}, {"pixel_values": torch.zeros(3, 4, 4).byte()}]
    for each in (items, items[::-1]):
        with pytest.raises(ValueError, match=r"float32, torch.uint8: some hold pixels, others normalised values"):
            collate_distillation(each)
