import pickle
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from exrep_hf.data.augmentation import Augmentation, ViewTransform, policy_transform
from exrep_hf.data.preprocessing import Preprocessing

IMAGENET = Preprocessing(32, 32, 36, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Preprocessing(32, 32, None, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SMALL = Preprocessing(16, 16, None, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def gradient(height: int = 60, width: int = 80) -> Image.Image:
    """An image in which every pixel tells where it is: red is the column, green is the row."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), rows * 0], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def levels(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Undoes the normalisation: 0..255."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (pixels * std + mean) * 255


def test_without_augmentation_each_model_sees_its_own_evaluation_transform() -> None:
    """Prevents teacher or student from being judged with the other's resize or normalisation."""
    views = ViewTransform(IMAGENET, [SMALL])(gradient())
    assert torch.equal(views["pixel_values"], IMAGENET.evaluation(gradient()))
    assert torch.equal(views["teacher_pixel_values"], SMALL.evaluation(gradient()))


@pytest.mark.parametrize("auto_augment", [None, "rand-m9-mstd0.5", "augmix-m3", "original"])
def test_teacher_and_student_see_the_same_view(auto_augment: str | None) -> None:
    """Prevents distilling from a teacher that saw another crop, flip or colour than the student."""
    transform = ViewTransform(IMAGENET, [HALF], Augmentation(auto_augment=auto_augment))
    seen = []
    for _ in range(20):
        views = transform(gradient())
        student = levels(views["pixel_values"], IMAGENET)
        assert torch.allclose(student, levels(views["teacher_pixel_values"], HALF), atol=1e-3)
        seen.append(student)
    assert len({tuple(view[:, 16, 16].round().tolist()) for view in seen}) > 10


@pytest.mark.parametrize("auto_augment", [None, "rand-m9-mstd0.5"])
def test_same_view_at_different_sizes(auto_augment: str | None) -> None:
    """Prevents a second draw of the crop where the sizes differ: at low resolution both must look alike."""
    transform = ViewTransform(SMALL, [IMAGENET], Augmentation(auto_augment=auto_augment))
    for _ in range(20):
        views = transform(gradient())
        low = [
            torch.nn.functional.adaptive_avg_pool2d(levels(pixels, preprocessing), 4)
            for pixels, preprocessing in ((views["pixel_values"], SMALL), (views["teacher_pixel_values"], IMAGENET))
        ]
        assert (low[0] - low[1]).abs().mean() < 4


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("given", [None, SMALL])
def test_policies_act_at_the_size_of_the_larger_input(
    swapped: bool, given: Preprocessing | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the smaller size, the larger input would be made of enlarged pixels, and shifts would be half as far."""
    built: list[tuple[int, tuple[float, ...]]] = []
    seen: list[Image.Image] = []

    def watch(image: Image.Image) -> Image.Image:
        seen.append(image)
        return image

    def build(policy: str, size: int, mean: tuple[float, ...], resampling: Image.Resampling) -> Any:
        built.append((size, mean))
        return watch

    monkeypatch.setattr("exrep_hf.data.augmentation.policy_transform", build)
    wide = replace(IMAGENET, height=24, width=40, resize=None)
    student, teacher = (wide, SMALL) if swapped else (SMALL, wide)
    whole = Augmentation((1.0, 1.0), (4 / 3, 4 / 3), hflip=0.0, auto_augment="rand-m9")
    views = ViewTransform(student, (teacher,), whole, reference=given)(gradient())
    reference = given or wide
    resampling = Image.Resampling.BICUBIC if given is None else Image.Resampling.BILINEAR
    # The first is `Augmentation`'s own check of the policy's name.
    assert built == [(224, (0.5, 0.5, 0.5)), (16 if given else 24, reference.mean)]
    resized = gradient().resize((reference.width, reference.height), resampling)
    assert len(seen) == 1 and seen[0].tobytes() == resized.tobytes()
    assert torch.equal(views["pixel_values"], student.squeezed(resized))
    assert torch.equal(views["teacher_pixel_values"], teacher.squeezed(resized))


@pytest.mark.parametrize(
    ("policy", "kind", "changes"),
    [
        ("rand-m9-mstd0.5", "rand_augment_transform", {}),
        ("augmix-m3", "augment_and_mix_transform", {"translate_pct": 0.3}),
        ("original", "auto_augment_transform", {}),
    ],
)
def test_policies_get_the_options_of_timm(
    policy: str, kind: str, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `timm.data.create_transform`: shifts of at most 45 % of the input, filled with the mean colour."""
    given: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(f"exrep_hf.data.augmentation.{kind}", lambda *arguments: given.append(arguments))
    policy_transform(policy, 200, (0.485, 0.456, 1.0), Image.Resampling.BILINEAR)
    options = {"translate_const": 90, "img_mean": (124, 116, 255), "interpolation": Image.Resampling.BILINEAR}
    assert given == [(policy, options | changes)]


def test_flips_agree_and_have_their_probability() -> None:
    """Prevents mirrored pairs, and hflip that is ignored: the red channel grows to the right unless flipped."""
    whole = {"scale": (1.0, 1.0), "ratio": (4 / 3, 4 / 3)}
    for probability, expected in ((0.0, 0), (1.0, 50), (0.5, 25)):
        transform = ViewTransform(IMAGENET, [SMALL], Augmentation(hflip=probability, **whole))  # type: ignore[arg-type]
        torch.manual_seed(0)
        flipped = 0
        for _ in range(50):
            views = transform(gradient())
            signs = [(pixels[0, :, -1] - pixels[0, :, 0]).mean() < 0 for pixels in views.values()]
            assert signs[0] == signs[1]
            flipped += int(signs[0])
        assert abs(flipped - expected) <= (10 if probability == 0.5 else 0)


def test_crops_stay_within_scale_and_ratio() -> None:
    """Prevents crop settings that never reach the crop: the area is read from how far the colours span."""
    transform = ViewTransform(IMAGENET, (), Augmentation(scale=(0.2, 0.3), ratio=(1.0, 1.0), hflip=0.0))
    areas = []
    for _ in range(40):
        pixels = levels(transform(gradient(120, 120))["pixel_values"], IMAGENET)
        spans = [pixels[channel].max() - pixels[channel].min() for channel in (0, 1)]
        assert spans[0] == pytest.approx(float(spans[1]), abs=10)
        areas.append(float(spans[0] * spans[1]) / 255**2)
    assert 0.17 < min(areas) < 0.25 < max(areas) < 0.32


def test_teacher_tensor_is_left_out_where_it_would_be_equal() -> None:
    """Prevents paying twice for the same pixels."""
    assert set(ViewTransform(HALF, [replace(HALF)])(gradient())) == {"pixel_values"}
    assert set(ViewTransform(HALF, (), Augmentation())(gradient())) == {"pixel_values"}
    assert set(ViewTransform(HALF, [SMALL])(gradient())) == {"pixel_values", "teacher_pixel_values"}


@pytest.mark.parametrize("auto_augment", [None, "rand-m9-mstd0.5"])
def test_seeds_replay_the_view(auto_augment: str | None) -> None:
    """Prevents a resumed run from drawing other views than the uninterrupted one."""
    transform = ViewTransform(IMAGENET, [SMALL], Augmentation(auto_augment=auto_augment))
    views = []
    for _ in range(2):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        views.append([transform(gradient())["pixel_values"] for _ in range(5)])
    assert all(torch.equal(first, second) for first, second in zip(*views, strict=True))


def test_without_policy_only_torch_is_random() -> None:
    """Prevents hidden randomness: other generators must neither be read nor moved."""
    transform = ViewTransform(IMAGENET, (), Augmentation())
    torch.manual_seed(3)
    first, state = transform(gradient())["pixel_values"], random.getstate()
    random.seed(99)
    torch.manual_seed(3)
    assert torch.equal(first, transform(gradient())["pixel_values"])
    random.setstate(state)
    transform(gradient())
    assert random.getstate() == state


def test_grey_images_pass_every_policy() -> None:
    """Prevents a crash in a policy's RGB fill colours on a grey image."""
    transform = ViewTransform(Preprocessing(16, 16, None, "bilinear", (0.5,), (0.5,)), (), Augmentation(hflip=1.0))
    assert transform(gradient(8, 8).convert("L"))["pixel_values"].shape == (1, 16, 16)
    for policy in ("rand-m9", "original", "augmix"):
        augmented = ViewTransform(HALF, (), Augmentation(auto_augment=policy))
        for _ in range(5):
            assert augmented(gradient(8, 8).convert("L"))["pixel_values"].shape == (3, 32, 32)


def test_transform_can_be_sent_to_workers() -> None:
    """Prevents a data loader that fails only with workers."""
    transform = ViewTransform(IMAGENET, [SMALL], Augmentation(auto_augment="rand-m9"))
    transform(gradient())
    assert set(pickle.loads(pickle.dumps(transform))(gradient())) == {"pixel_values", "teacher_pixel_values"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (0.0, 1.0)}, "`scale` is"),
        ({"scale": (0.5, 0.2)}, "`scale` is"),
        ({"scale": (0.5, 1.2)}, "`scale` is"),
        ({"ratio": (0.0, 1.0)}, "`ratio` is"),
        ({"ratio": (2.0, 1.0)}, "`ratio` is"),
        ({"hflip": 1.5}, "`hflip` is 1.5"),
        ({"hflip": float("nan")}, "`hflip` is nan"),
        ({"auto_augment": "magic-m9"}, "`auto_augment` is 'magic-m9', which timm cannot read"),
        ({"auto_augment": "rand-zz9"}, "`auto_augment` is 'rand-zz9', which timm cannot read"),
        ({"auto_augment": ""}, "`auto_augment` is ''"),
    ],
)
def test_bad_augmentations_are_refused(changes: dict, message: str) -> None:
    """Prevents a failure inside a worker, hours after the start."""
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)
