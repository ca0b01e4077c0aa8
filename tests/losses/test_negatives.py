"""Who becomes a negative, and how often."""

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from exrep_hf.losses.negatives import NegativeSampler

# Three classes of unequal size, interleaved, with a gap in the numbering.
LABELS = torch.tensor([0, 5, 0, 2, 2, 0, 5, 2, 2, 2, 0, 2])


def _registered() -> NegativeSampler:
    sampler = NegativeSampler(len(LABELS))
    sampler.register(LABELS)
    return sampler


@pytest.mark.parametrize("row", [0, 1, 3])
@pytest.mark.parametrize("given", [True, False])
def test_uniform_over_other_classes(row: int, given: bool) -> None:
    """One off at the edge of a class block would leave an image out for good, or admit the own class."""
    torch.manual_seed(0)
    rows = torch.tensor([row])
    labels = LABELS[rows] if given else None
    drawn = _registered().draw(rows, labels, 1, 30_000)
    counts = torch.bincount(drawn.flatten(), minlength=len(LABELS))
    other = LABELS != LABELS[row]
    assert drawn.shape == (1, 30_000)
    assert counts[~other].sum() == 0
    assert chisquare(counts[other].numpy()).pvalue > 1e-3


def test_each_image_of_a_batch_skips_its_own_class() -> None:
    """A block taken from the wrong line of the batch would pass every test of a single image."""
    torch.manual_seed(0)
    rows = torch.arange(len(LABELS))
    drawn = _registered().draw(rows, LABELS, len(LABELS), 500)
    assert (LABELS[drawn] != LABELS.unsqueeze(1)).all()
    assert all(len(line.unique()) == int((LABELS != label).sum()) for line, label in zip(drawn, LABELS, strict=True))


def test_images_of_unknown_class() -> None:
    """To each other they are negatives as any others: taken for one class, they would not be contrasted."""
    torch.manual_seed(0)
    partly = torch.where(LABELS == 5, -1, LABELS)
    partly[4] = -1
    sampler = NegativeSampler(len(LABELS))
    sampler.register(partly)
    rows = torch.arange(len(LABELS))
    for drawn in (sampler.draw(rows, None, 12, 20_000), sampler.draw(rows, partly, 12, 20_000)):
        for row, line in enumerate(drawn):
            counts = torch.bincount(line, minlength=12)
            own = rows == row if partly[row] < 0 else partly == partly[row]
            assert counts[own].sum() == 0, row
            assert chisquare(counts[~own].numpy()).pvalue > 1e-4, row
    # In a queue, or an evaluation, such an image is in no row.
    drawn = sampler.draw(None, torch.tensor([-1, 2]), 2, 500)
    assert set(drawn[0].tolist()) == set(range(12)) and (partly[drawn[1]] != 2).all()


def test_evaluation_images_skip_their_class() -> None:
    """An evaluation image is in no row, so only its label can tell what to leave out."""
    torch.manual_seed(0)
    drawn = _registered().draw(None, torch.tensor([2, 0]), 2, 500)
    assert (LABELS[drawn[0]] != 2).all() and (LABELS[drawn[1]] != 0).all()
    anything = _registered().draw(None, None, 2, 500)
    assert set(anything.flatten().tolist()) == set(range(len(LABELS)))


@pytest.mark.parametrize("row", [0, 4, 9])
def test_without_labels_all_rows_but_the_own(row: int) -> None:
    """The positive among the negatives pulls and pushes at once."""
    torch.manual_seed(0)
    drawn = NegativeSampler(10).draw(torch.tensor([row, 1]), None, 2, 20_000)[0]
    counts = torch.bincount(drawn, minlength=10)
    assert counts[row] == 0
    assert chisquare(counts[torch.arange(10) != row].numpy()).pvalue > 1e-3


def test_unregistered_labels_are_learned() -> None:
    """Labels that only the batches carry would otherwise be ignored without a word."""
    torch.manual_seed(0)
    sampler = NegativeSampler(4)
    first = sampler.draw(torch.tensor([0, 1]), torch.tensor([7, 8]), 2, 200)
    # Rows 2 and 3 are unknown and count as another class.
    assert [sorted(line.unique().tolist()) for line in first] == [[1, 2, 3], [0, 2, 3]]
    second = sampler.draw(torch.tensor([2, 3]), torch.tensor([7, 8]), 2, 200)
    assert [sorted(line.unique().tolist()) for line in second] == [[1, 3], [0, 2]]


def test_learning_a_single_class_stays_within_the_table() -> None:
    """With nothing to draw from, an index past the end would end the run on an accelerator, without a message."""
    drawn = NegativeSampler(3).draw(torch.arange(3), torch.zeros(3, dtype=torch.long), 3, 50)
    assert int(drawn.min()) >= 0 and int(drawn.max()) < 3


class _LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else (result,):
            if isinstance(output, Tensor):
                self.elements = max(self.elements, output.numel())
        return result


def test_a_draw_needs_no_memory_of_the_size_of_the_data() -> None:
    """A mask or a list of candidates per image would need gigabytes for ImageNet."""
    sampler = NegativeSampler(100_000)
    sampler.register(torch.arange(100_000) % 100)
    rows = torch.arange(4)
    with _LargestTensor() as largest:
        sampler.draw(rows, None, 4, 16)
    assert 0 < largest.elements <= 4 * 16


def test_bad_labels() -> None:
    """Labels of another split, or of one class only, would train without contrast."""
    sampler = NegativeSampler(12)
    with pytest.raises(ValueError, match=r"expected shape \(12,\), got \(11,\)"):
        sampler.register(LABELS[:11])
    with pytest.raises(ValueError, match="at least two classes.*all of class 3"):
        sampler.register(torch.full((12,), 3))
    with pytest.raises(ValueError, match=r"got dtype torch\.float32"):
        sampler.register(LABELS.float())
    assert not sampler.registered


def test_registered_labels_are_a_copy() -> None:
    """A caller that re-uses its tensor would change who is a negative of whom."""
    labels = LABELS.clone()
    sampler = NegativeSampler(12)
    sampler.register(labels)
    labels.zero_()
    assert torch.equal(sampler.labels, LABELS)


def test_restored_classes_are_skipped() -> None:
    """Classes that are restored but not sorted would be ignored until the next batch, or for good."""
    sampler = NegativeSampler(len(LABELS))
    sampler.load(LABELS)
    # Without rows first: a draw for training images learns their classes again.
    assert (LABELS[sampler.draw(None, torch.tensor([5]), 1, 200)] != 5).all()
    drawn = sampler.draw(torch.arange(len(LABELS)), LABELS, len(LABELS), 200)
    assert (LABELS[drawn] != LABELS.unsqueeze(1)).all()


def test_one_class_alone() -> None:
    """While all known rows are of one class, any of them is drawn, and not one alone."""
    sampler = NegativeSampler(6)
    sampler.load(torch.zeros(6, dtype=torch.int64))
    drawn = sampler.draw(None, torch.zeros(2, dtype=torch.int64), 2, 200)
    assert set(drawn.flatten().tolist()) == set(range(6))
