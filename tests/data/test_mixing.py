"""Mixed images are the same mixture for teacher and student, and labels say what is in them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from exrep_hf.data import Mixing
from exrep_hf.data.mixing import _mix, _mixed_by_masks, mix_pairs

COUNT, CLASSES = 64, 5


def batch(size: int = 8, teacher_size: int = 16) -> dict[str, Tensor]:
    """Every image has one colour of its own, so that a mixture tells what it is made of."""
    colours = torch.arange(COUNT, dtype=torch.float32) ** 2 + 1
    images = colours[:, None, None, None].expand(-1, 3, size, size).clone()
    teacher_images = colours[:, None, None, None].expand(-1, 3, teacher_size, teacher_size).clone()
    labels = torch.arange(COUNT) % CLASSES
    return {
        "pixel_values": images,
        "teacher_pixel_values": teacher_images,
        "labels": labels,
        "sample_index": torch.arange(COUNT),
    }


def test_mixup_blends_two_images_alike_for_both_models() -> None:
    """Student and teacher must see one mixture, and the labels its proportion."""
    before = batch()
    after = Mixing(mixup=1.0)(before, CLASSES)
    colours = before["pixel_values"][:, 0, 0, 0]
    for image, teacher_image in zip(after["pixel_values"], after["teacher_pixel_values"], strict=True):
        assert image.max() - image.min() < 1e-3
        torch.testing.assert_close(image[0, 0, 0], teacher_image[0, 0, 0])
    torch.testing.assert_close(after["labels"].sum(1), torch.ones(COUNT))
    # Each mixture lies between its image and one other, at the share that the labels name.
    changed = 0
    for row in range(COUNT):
        own = int(before["labels"][row])
        share = float(after["labels"][row, own])
        others = [other for other in range(COUNT) if int(before["labels"][other]) != own]
        mixtures = share * colours[row] + (1 - share) * colours[others]
        same_class = share == pytest.approx(1.0)
        assert same_class or (mixtures - after["pixel_values"][row, 0, 0, 0]).abs().min() < 1e-2
        changed += not same_class
    assert changed > COUNT // 2
    assert torch.equal(after["sample_index"], before["sample_index"])
    assert torch.equal(before["pixel_values"], batch()["pixel_values"]), "the batch that came in was changed"


def test_cutmix_pastes_one_box() -> None:
    """The box is the same part of the image at every size, and its area is the label's other share."""
    before = batch(32, 64)
    after = Mixing(cutmix=1.0)(before, CLASSES)
    differing = 0
    for row in range(COUNT):
        colour = before["pixel_values"][row, 0, 0, 0]
        pasted = after["pixel_values"][row, 0] != colour
        pasted_for_teacher = after["teacher_pixel_values"][row, 0] != colour
        assert abs(float(pasted.float().mean()) - float(pasted_for_teacher.float().mean())) < 0.07
        if pasted.any():
            rows, columns = (pasted.any(dim) for dim in (1, 0))
            assert pasted[rows][:, columns].all(), "not a box"
            assert len(after["pixel_values"][row].unique()) <= 2
            own = int(before["labels"][row])
            other_share = 1 - float(after["labels"][row, own])
            if other_share > 0:
                assert abs(other_share - float(pasted.float().mean())) < 0.07
                differing += 1
    assert differing > COUNT // 4


def test_area_of_a_box_is_the_other_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides of 1 - λ instead of √(1 - λ) would make boxes of a quarter into boxes of a sixteenth."""
    monkeypatch.setattr("exrep_hf.data.mixing._beta", lambda alpha, count: torch.full((count,), 0.75))
    own_share, box = Mixing(cutmix=1.0).draw(2000)
    assert torch.equal(own_share, torch.ones(2000))
    sides = box[:, 2:] - box[:, :2]
    whole = ((box > 0) & (box < 1)).all(1)
    torch.testing.assert_close(sides[whole], torch.full((int(whole.sum()), 2), 0.5))
    # A centre between 1/4 and 3/4 in both directions: a quarter of all boxes lies within the image.
    assert abs(int(whole.sum()) - 500) < 80
    assert sides.max() <= 0.5 + 1e-6 and sides.min() >= 0.25 - 1e-6


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    """α on one side alone, or its reciprocal, still gives shares between 0 and 1."""
    torch.manual_seed(0)
    own_share, box = Mixing(mixup=alpha).draw(20_000)
    assert not box.any()
    assert own_share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert own_share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_both_are_as_frequent() -> None:
    torch.manual_seed(0)
    own_share, box = Mixing(mixup=1.0, cutmix=1.0).draw(4000)
    cut = box.any(1)
    assert abs(int(cut.sum()) - 2000) < 160
    assert torch.equal(own_share == 1, cut), "an image is blended or pasted into, not both"


def test_both_take_turns() -> None:
    """With both, some images are blended and some are pasted into."""
    before = batch()
    images = Mixing(mixup=1.0, cutmix=1.0)(before, CLASSES)["pixel_values"][:, 0]
    kinds = [len(image.unique()) for image in images]
    assert kinds.count(2) > COUNT // 8
    blended = [image for image, own in zip(images, before["pixel_values"][:, 0], strict=True) if (image != own).all()]
    assert len(blended) > COUNT // 8


@pytest.mark.parametrize("mix", [_mix, _mixed_by_masks])
def test_against_a_plain_loop(mix: Callable[..., Tensor]) -> None:
    """One pixel at a time, on images without structure."""
    images = torch.randn(3, 2, 6, 5)
    partner = torch.tensor([2, 0, 1])
    share = torch.tensor([1.0, 0.3, 1.0])
    box = torch.tensor([[0.2, 0.15, 0.9, 0.75], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    expected = images.clone()
    for number in range(3):
        for row in range(6):
            for column in range(5):
                y, x = (row + 0.5) / 6, (column + 0.5) / 5
                top, left, bottom, right = box[number].tolist()
                inside = top <= y < bottom and left <= x < right
                own = 0.0 if inside else float(share[number])
                other = images[partner[number], :, row, column]
                expected[number, :, row, column] = own * images[number, :, row, column] + (1 - own) * other
    torch.testing.assert_close(mix(images, images[partner], share, box), expected)


@pytest.mark.parametrize("size", [(8, 8), (33, 47), (5, 3)])
def test_image_by_image_is_the_same_to_the_bit(size: tuple[int, int]) -> None:
    """On a CPU as on other devices; runs that were begun before it was so go on as they were."""
    torch.manual_seed(4)
    for _ in range(5):
        images, others = torch.randn(2, 32, 3, *size)
        share, box = Mixing(1.0, 1.0).draw(32)
        expected = _mixed_by_masks(images, others, share, box)
        assert torch.equal(_mix(images, others, share, box), expected)
        assert torch.equal(_mix(images, list(others), share, box), expected)
        strided = images.contiguous(memory_format=torch.channels_last)
        assert torch.equal(_mix(strided, others, share, box), expected)


@pytest.mark.parametrize("rounds", [1, 3])
def test_draws_come_in_one_order(rounds: int) -> None:
    """Partner, share and box of a round, then the next: what a resumed run's generator stands before."""
    torch.manual_seed(9)
    mixed = Mixing(1.0, 1.0, rounds)(before := batch(), CLASSES)
    following = torch.rand(())
    torch.manual_seed(9)
    expected = before["pixel_values"]
    for _ in range(rounds):
        partner = torch.randperm(COUNT)
        expected = _mixed_by_masks(expected, expected[partner], *Mixing(1.0, 1.0).draw(COUNT))
    assert torch.equal(mixed["pixel_values"], expected) and torch.rand(()) == following


def test_pixels_stay_pixels() -> None:
    """Of eight bits, rounded."""
    torch.manual_seed(2)
    images, others = torch.randint(0, 256, (2, 16, 3, 9, 7), dtype=torch.uint8)
    share, box = Mixing(1.0, 1.0).draw(16)
    mixed = _mix(images, others, share, box)
    assert mixed.dtype == torch.uint8
    assert torch.equal(mixed.float(), _mixed_by_masks(images.float(), others.float(), share, box).round())
    assert torch.equal(mixed, _mixed_by_masks(images, others, share, box))


def test_labels_of_a_blend_with_a_box() -> None:
    """Shares of a class are those of the pixels, where a box is pasted into a blend."""
    one = {"pixel_values": torch.ones(1, 3, 8, 8), "labels": torch.tensor([1])}
    other = {"pixel_values": torch.zeros(1, 3, 8, 8), "labels": torch.tensor([4])}
    mixed = mix_pairs(one, other, torch.tensor([0.6]), torch.tensor([[0.25, 0.5, 0.75, 1.0]]), CLASSES)
    share = float(mixed["pixel_values"].mean())
    assert share == pytest.approx(0.6 * 0.75)
    torch.testing.assert_close(mixed["labels"], torch.tensor([[0, share, 0, 0, 1 - share]]))


def test_off_and_without_labels() -> None:
    """Off, nothing is touched, and labels stay class numbers; labels may be missing."""
    before = batch()
    assert not Mixing()
    after = Mixing()(before, CLASSES)
    assert all(after[name] is before[name] for name in before)
    unlabelled = {"pixel_values": before["pixel_values"]}
    assert Mixing(cutmix=1.0)(unlabelled, CLASSES).keys() == {"pixel_values"}


def test_repeats_under_the_global_generator() -> None:
    """A resumed run restores that generator, and must see the same mixtures."""
    torch.manual_seed(3)
    first = Mixing(1.0, 1.0)(batch(), CLASSES)
    torch.manual_seed(3)
    second = Mixing(1.0, 1.0)(batch(), CLASSES)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_labels_have_to_be_classes() -> None:
    """An unknown class would otherwise stop the run with a message about one-hot vectors."""
    with pytest.raises(ValueError, match="Labels of a batch range from -2 to 3; expected 0 to 4.*or -1 for images"):
        Mixing(mixup=1.0)({**batch(), "labels": torch.arange(COUNT) % 6 - 2}, CLASSES)


def test_what_has_no_label_gives_no_share() -> None:
    """A missing label must be no class: the shares are those of the other images, and sum to what these take up."""
    whole = {**batch(), "labels": torch.arange(COUNT) % CLASSES}
    partly = whole | {"labels": torch.where(whole["labels"] == 2, -1, whole["labels"])}
    for mixing in (Mixing(1.0, 1.0), Mixing(1.0, 1.0, 2)):
        mixed = []
        for given in (whole, partly):
            torch.manual_seed(3)
            mixed.append(mixing(given, CLASSES)["labels"])
        expected = mixed[0].clone()
        expected[:, 2] = 0
        torch.testing.assert_close(mixed[1], expected)
        assert (mixed[1].sum(1) < 0.9).any()


def test_stored_answers_are_refused() -> None:
    """They belong to the images before the mixture, and nothing else would tell."""
    with pytest.raises(ValueError, match=r"holds \['teacher_logits'\]"):
        Mixing(mixup=1.0)({**batch(), "teacher_logits": torch.zeros(COUNT, CLASSES)}, CLASSES)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_bad_alpha(name: str) -> None:
    alphas = {"mixup": 0.0, "cutmix": 0.0} | {name: -1.0}
    with pytest.raises(ValueError, match=f"`{name}` is -1.0; expected an α ≥ 0"):
        Mixing(alphas["mixup"], alphas["cutmix"])


def test_two_rounds_mix_mixtures() -> None:
    """The second round is the first one again, on its mixtures and shares."""
    before = batch()
    torch.manual_seed(3)
    once = Mixing(mixup=1.0, cutmix=1.0)(before, CLASSES)
    expected = Mixing(mixup=1.0, cutmix=1.0)(once, CLASSES)
    torch.manual_seed(3)
    twice = Mixing(mixup=1.0, cutmix=1.0, rounds=2)(before, CLASSES)
    for name in ("pixel_values", "teacher_pixel_values", "labels"):
        assert torch.equal(twice[name], expected[name])
        assert not torch.equal(twice[name], once[name])
    torch.testing.assert_close(twice["labels"].sum(1), torch.ones(COUNT))
    assert float((twice["labels"] > 0).sum(1).float().mean()) > float((once["labels"] > 0).sum(1).float().mean())


@pytest.mark.parametrize("rounds", [0, 7, 2.0, "2"])
def test_rounds_out_of_range(rounds: int) -> None:
    with pytest.raises(ValueError, match="`mix_rounds` is .*; expected a whole number from 1 to 6"):
        Mixing(1.0, 1.0, rounds)
