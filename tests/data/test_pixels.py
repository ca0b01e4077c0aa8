"""What sets of pixels are called."""

import pytest
import torch
from PIL import Image

from exrep_hf.data import Mixing, Preprocessing, ViewTransform, collate_distillation
from exrep_hf.data.pixels import pixel_names, teacher_pixels, teacher_pixels_name

STUDENT = Preprocessing(8, 8, None, "bilinear", (0.5,) * 3, (0.5,) * 3)
OTHER = Preprocessing(6, 6, None, "bilinear", (0.5,) * 3, (0.5,) * 3)


def test_names() -> None:
    """One set has the name that users' data sets know; several are told apart by number, not by the alphabet."""
    assert teacher_pixels_name(0, 1) == "teacher_pixel_values"
    assert [teacher_pixels_name(place, 2) for place in range(2)] == [
        "teacher_pixel_values_0",
        "teacher_pixel_values_1",
    ]
    names = ["pixel_values", *(teacher_pixels_name(place, 12) for place in range(12))]
    others = ["labels", "teacher_pixel_values_mean", "teacher_logits"]
    assert pixel_names(dict.fromkeys([*others, *reversed(names)])) == names


def test_pixels_of_a_teacher() -> None:
    student, own = torch.zeros(1), torch.ones(1)
    assert teacher_pixels({"pixel_values": student}, 0) == []
    assert teacher_pixels({"pixel_values": student, "teacher_pixel_values": own}, 1) == [own]
    batch = {"pixel_values": student, "teacher_pixel_values_1": own}
    assert [int(each) for each in teacher_pixels(batch, 3)] == [0, 1, 0]
    with pytest.raises(ValueError, match="and the teacher wants 1 set of pixels; expected"):
        teacher_pixels(batch, 1)


def test_all_sets_are_mixed_alike() -> None:
    """Another box or share for one teacher would be another image."""
    flat = torch.arange(4.0).reshape(4, 1, 1, 1)
    batch = {"pixel_values": flat.expand(4, 3, 8, 8).clone()}
    batch |= {f"teacher_pixel_values_{place}": flat.expand(4, 3, 16, 16).clone() for place in range(2)}
    torch.manual_seed(1)
    mixed = Mixing(mixup=1.0)(collate_distillation([{n: v[row] for n, v in batch.items()} for row in range(4)]), 4)
    assert not torch.equal(mixed["pixel_values"], batch["pixel_values"])
    for place in range(2):
        torch.testing.assert_close(mixed[f"teacher_pixel_values_{place}"][..., :8, :8], mixed["pixel_values"])


def test_views_that_are_the_same_are_made_once() -> None:
    """Two teachers that want the same get one tensor; one that wants what the student wants gets none of its own."""
    image = Image.new("RGB", (10, 10))
    made = ViewTransform(STUDENT, [OTHER, STUDENT, OTHER])(image)
    assert [*made] == ["pixel_values", "teacher_pixel_values_0", "teacher_pixel_values_2"]
    assert made["teacher_pixel_values_0"] is made["teacher_pixel_values_2"]
