"""The linear classifier on frozen features: scikit-learn's answer, limits, folds, and what is refused."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from exrep_hf.teacher import fit_linear_probe
from exrep_hf.teacher.image_folds import image_folds, spread_over_classes


def digits(images: int, views: int = 3) -> tuple[Tensor, Tensor]:
    """Real digits with noise for views."""
    values, labels = load_digits(return_X_y=True)
    features = torch.as_tensor(values[:images], dtype=torch.float32)
    noise = torch.randn(images, views, 64, generator=torch.Generator().manual_seed(3))
    return features[:, None] + 2 * noise, torch.as_tensor(labels[:images])


def standardised(features: Tensor) -> np.ndarray:
    rows = features.double().flatten(0, 1)
    deviation = rows.std(0, correction=0)
    return ((rows - rows.mean(0)) / torch.where(deviation > 0, deviation, 1.0)).numpy()


def log_odds(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("images", [60, 300])
def test_it_is_scikit_learns(images: int) -> None:
    features, labels = digits(images)
    found = fit_linear_probe(features, labels, 10)
    rows = standardised(features)
    reference = LogisticRegression(C=1 / found.strength, tol=1e-9, max_iter=10_000)
    reference.fit(rows, labels.repeat_interleave(3), sample_weight=np.full(len(rows), 1 / 3))
    own = log_odds(F.linear(features.flatten(0, 1), found.weight, found.bias))
    torch.testing.assert_close(own, torch.as_tensor(reference.predict_log_proba(rows)), atol=5e-3, rtol=0)
    assert (found.images, found.views, found.held_out, found.classes) == (images, 3, images, 10)


def test_figures_are_of_held_out_images() -> None:
    """Cross-validation done plainly by scikit-learn, with the strength that was chosen."""
    features, labels = digits(100)
    found = fit_linear_probe(features, labels, 10)
    folds, number = image_folds(labels)
    rows = torch.as_tensor(standardised(features)).view(100, 3, 64)
    losses, right = torch.zeros((), dtype=torch.float64), torch.zeros(())
    for fold in range(number):
        inside = folds == fold
        reference = LogisticRegression(C=1 / found.strength, tol=1e-9, max_iter=10_000)
        fitted, known = rows[~inside].flatten(0, 1), labels[~inside].repeat_interleave(3)
        reference.fit(fitted.numpy(), known.numpy(), sample_weight=np.full(len(fitted), 1 / 3))
        told = torch.as_tensor(reference.predict_log_proba(rows[inside].flatten(0, 1).numpy()))
        truth = labels[inside].repeat_interleave(3)
        losses += F.nll_loss(told, truth, reduction="sum")
        right += (told.argmax(-1) == truth).sum()
    assert found.log_loss == pytest.approx(losses.item() / 300, abs=2e-3)
    assert found.accuracy == pytest.approx(right.item() / 300, abs=0.01)
    others = features.new_tensor(load_digits().data[1000:])
    truth = torch.as_tensor(load_digits().target[1000:])
    assert (F.linear(others, found.weight, found.bias).argmax(-1) == truth).float().mean() > 0.8


def test_the_same_to_the_bit() -> None:
    features, labels = digits(40)
    before = torch.get_rng_state()
    first = fit_linear_probe(features, labels, 10)
    torch.manual_seed(5)
    second = fit_linear_probe(features.clone().requires_grad_(), labels, 10)
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert (first.strength, first.accuracy, first.log_loss) == (second.strength, second.accuracy, second.log_loss)
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    assert not torch.equal(before, expected)
    fit_linear_probe(features, labels, 10)
    assert torch.equal(torch.get_rng_state(), expected)


def test_features_that_say_nothing_give_the_shares_of_classes() -> None:
    """The strongest penalty is chosen, and the bias alone is left."""
    labels = torch.arange(200) % 4 // 3
    features = torch.randn(200, 2, 30, generator=torch.Generator().manual_seed(0))
    found = fit_linear_probe(features, labels, 2)
    told = F.linear(features, found.weight, found.bias).softmax(-1)
    assert found.strength >= 1000
    torch.testing.assert_close(told.mean((0, 1)), torch.tensor([0.75, 0.25]), atol=0.01, rtol=0)
    assert found.log_loss == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=0.02)


def test_a_constant_feature_is_left_alone() -> None:
    features, labels = digits(60)
    changed = torch.cat([features, torch.full((60, 3, 1), 7.0)], -1)
    plain, found = (fit_linear_probe(each, labels, 10) for each in (features, changed))
    assert found.weight[:, -1].abs().max() < 1e-9
    torch.testing.assert_close(found.weight[:, :-1], plain.weight, atol=1e-5, rtol=1e-3)


def test_a_class_without_images_is_the_least_likely_one() -> None:
    features, labels = digits(60)
    found = fit_linear_probe(features, labels, 13)
    assert found.classes == 10 and found.weight.shape == (13, 64)
    assert torch.equal(found.weight[10:], torch.zeros(3, 64))
    logits = F.linear(features, found.weight, found.bias)
    assert logits.isfinite().all()
    for temperature in (0.5, 1.0, 4.0, 20.0):
        told = (logits / temperature).softmax(-1)
        assert (told[..., 10:] <= told[..., :10].amin(-1, keepdim=True) + 1e-6).all()
    assert torch.equal(logits[..., :10].argmax(-1), logits.argmax(-1))


def test_few_images() -> None:
    """Two of each class are cross-validated; the only one of a class is fitted on, and then there is no figure."""
    features, labels = digits(1500)
    order = torch.cat([(labels == number).nonzero().flatten()[:2] for number in range(10)])
    pairs = fit_linear_probe(features[order], labels[order], 10)
    assert pairs.held_out == 20 and pairs.accuracy is not None and pairs.accuracy > 0.3
    single = fit_linear_probe(features[order[1:]], labels[order[1:]], 10)
    assert (single.images, single.held_out, single.classes) == (19, 18, 10)
    ones = fit_linear_probe(features[order[::2]], labels[order[::2]], 10)
    assert (ones.accuracy, ones.log_loss, ones.held_out) == (None, None, 0)
    assert torch.equal(F.linear(features[order[::2], 0], ones.weight, ones.bias).argmax(-1), torch.arange(10))


@pytest.mark.parametrize("counts", [[7, 2, 3], [2, 2], [1, 2, 9], [30] * 4, [1, 1, 1]])
def test_folds(counts: list[int]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    folds, number = image_folds(labels)
    several = sum(count for count in counts if count > 1)
    assert number == min(5, several) and int((folds >= 0).sum()) == several
    sizes = torch.bincount(folds[folds >= 0], minlength=number)
    assert number == 0 or int(sizes.max() - sizes.min()) <= 1
    for label, count in enumerate(counts):
        held = torch.bincount(folds[(labels == label) & (folds >= 0)], minlength=max(number, 1))
        # Each fold leaves some of every class to fit on, and holds its share of it.
        assert count == 1 or (held.max() < count and held.max() - held.min() <= 1)
    assert torch.equal(folds, image_folds(labels)[0])


def test_a_part_of_the_images_is_spread_over_classes() -> None:
    labels = torch.arange(1000) % 8
    chosen = spread_over_classes(labels, 80)
    assert torch.equal(torch.bincount(labels[chosen]), torch.full((8,), 10))
    assert torch.equal(chosen, chosen.unique()) and torch.equal(spread_over_classes(labels, 1000), torch.arange(1000))


def test_what_is_refused() -> None:
    features, labels = digits(20)
    with pytest.raises(ValueError, match=r"`features` is \(20, 192\) .*expected \(images, views, dim\)"):
        fit_linear_probe(features.flatten(1), labels, 10)
    with pytest.raises(ValueError, match=r"`labels` \(19,\)"):
        fit_linear_probe(features, labels[1:], 10)
    with pytest.raises(ValueError, match="`labels` holds 9; expected classes from 0 to 7"):
        fit_linear_probe(features, labels, 8)
    with pytest.raises(ValueError, match="`labels` holds -1; expected classes from 0"):
        fit_linear_probe(features, labels - 1, 10)
    with pytest.raises(ValueError, match="All 20 labelled images are of class 3; expected images of at least two"):
        fit_linear_probe(features, torch.full((20,), 3), 10)
    features[4, 1, 7] = math.nan
    with pytest.raises(ValueError, match="features of 1 of 20 images are NaN or infinite, row 4 first"):
        fit_linear_probe(features, labels, 10)
