"""Pixels of items and batches, against what student and teacher want."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from exrep_hf.data import Preprocessing
from exrep_hf.data.item_pixels import PixelRules

STUDENT = Preprocessing(8, 8, 10, "bilinear", (0.5,) * 3, (0.25,) * 3)
IMAGE = torch.zeros(3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"height": 6, "width": 4}, "size 8x8 for the student, 6x4 for the teacher"),
        ({"mean": (0.5, 0.5, 0.4)}, r"mean \(0.5, 0.5, 0.5\) for the student, \(0.5, 0.5, 0.4\) for the teacher"),
        ({"std": (0.2,) * 3}, r"std \(0.25, .* for the teacher"),
        ({"mean": (0.5,), "std": (0.25,)}, r"mean .*\(0.5,\) for the teacher; std .* for the teacher"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_teacher_that_wants_other_pixels(changes: dict[str, Any], told: str, place: int) -> None:
    """The student's pixels are nothing that such a teacher has seen; no shape tells, where only the mean differs."""
    other = replace(STUDENT, **changes)
    rules = PixelRules(STUDENT, [other] if place == 0 else [STUDENT, other])
    name = "teacher_pixel_values" if place == 0 else "teacher_pixel_values_1"
    with pytest.raises(ValueError, match=rf"Row 0 of `set` has no `{name}`, only .*{told}\. Pass the HF `Dataset`"):
        rules.check_item({"pixel_values": IMAGE}, "row 0 of `set`", for_teacher=True)
    with pytest.raises(ValueError, match=f"The batch has no `{name}`"):
        rules.check_shared({"pixel_values": IMAGE[None]}, "the batch")
    own = torch.zeros(len(other.mean), other.height, other.width)
    found = rules.check_item({"pixel_values": IMAGE, name: own}, "row 0", for_teacher=True)
    assert list(found) == ["pixel_values", name] and found[name] is own
    assert list(rules.check_item({"pixel_values": IMAGE}, "row 0", for_teacher=False)) == ["pixel_values"]


def test_pixels_that_serve_both() -> None:
    """How an image was resized is the data set's own affair, and so is a size that is the teacher's after all."""
    for other in (STUDENT, replace(STUDENT, resize=None, interpolation="bicubic"), None):
        assert list(PixelRules(STUDENT, [other]).check_item({"pixel_values": IMAGE}, "row 0", True)) == [
            "pixel_values"
        ]
    smaller = torch.zeros(3, 6, 6)
    rules = PixelRules(STUDENT, [replace(STUDENT, height=6, width=6)])
    rules.check_item({"pixel_values": smaller}, "row 0", True)
    rules.check_item({"pixel_values": smaller.tolist()}, "row 0", True)
    rules.check_shared({"pixel_values": smaller[None]}, "the batch")
    PixelRules(None, [STUDENT]).check_item({"pixel_values": smaller}, "row 0", True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (IMAGE.to(torch.uint8), r"is of torch.uint8; expected floating-point pixels, normalised with mean \(0.5, "),
        (np.zeros((3, 8, 8), np.int64), "is of torch.int64; expected floating-point"),
        (torch.zeros(8, 8, 3), r"has the shape \(8, 8, 3\); expected \(3, 8, 8\). .*channels first"),
        (torch.zeros(1, 8, 8), r"has the shape \(1, 8, 8\); expected \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"has the shape \(1, 3, 8, 8\)"),
        (torch.zeros(3, 8, 0), r"has the shape \(3, 8, 0\)"),
        ("image.png", "is a str; expected a tensor"),
        (None, "is a NoneType; expected a tensor"),
    ],
)
@pytest.mark.parametrize("name", ["pixel_values", "teacher_pixel_values"])
def test_pixels_that_no_model_takes(value: Any, message: str, name: str) -> None:
    """Each of these trains on nonsense, or fails in a layer that names neither row nor key."""
    with pytest.raises(ValueError, match=f"`{name}` of row 0 {message}"):
        PixelRules(STUDENT, [STUDENT]).check_item({"pixel_values": IMAGE} | {name: value}, "row 0", for_teacher=True)


def test_an_image_that_was_not_decoded_to_a_tensor() -> None:
    with pytest.raises(ValueError, match="`pixel_values` of row 0 (is a|has the shape)"):
        PixelRules(STUDENT, ()).check_item({"pixel_values": Image.new("RGB", (8, 8))}, "row 0", for_teacher=False)


_ANYTHING = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.integers(-3, 300),
    st.floats(),
    st.lists(st.lists(st.floats(width=32), max_size=3), max_size=3),
    arrays(st.sampled_from(["float32", "uint8", "int64", "<U2", "bool"]), array_shapes(max_dims=4, max_side=9)),
    st.just(IMAGE),
    st.just(Image.new("L", (4, 4))),
)
_KEYS = st.sampled_from(["pixel_values", "teacher_pixel_values", "teacher_pixel_values_0", "labels", "x"])


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=4), st.booleans(), st.integers(0, 2))
def test_any_item(item: dict[str, Any], for_teacher: bool, teachers: int) -> None:
    """What an item holds is fine, or refused in words of ours."""
    rules = PixelRules(STUDENT, [STUDENT, replace(STUDENT, std=(0.5,) * 3)][:teachers])
    try:
        found = rules.check_item({"pixel_values": IMAGE} | item, "row 0", for_teacher)
    except ValueError as error:
        assert "row 0" in str(error).lower() or "the teacher wants" in str(error), error
    else:
        assert all(value.ndim == 3 and value.is_floating_point() for value in found.values())
