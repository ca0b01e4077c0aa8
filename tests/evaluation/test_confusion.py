"""What the worst classes are taken for, counted by hand."""

import torch

from exrep_hf.evaluation.confusion import worst_confusions


def test_counts() -> None:
    """The worst class first, its right answer first, then mistakes by number; a class without mistakes has no row."""
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2])
    answers = torch.tensor([0, 0, 2, 2, 0, 1, 2, 1])
    logits = torch.eye(3)[answers]
    found = worst_confusions(logits, labels, ["a", "b", "c"])
    assert found == {"b": {"b": 1, "c": 2, "a": 1}, "c": {"c": 1, "b": 1}}
    assert list(found) == ["b", "c"] and list(found["b"]) == ["b", "c", "a"]
    assert worst_confusions(logits, labels, ["a", "b", "c"], classes=1, answers=1) == {"b": {"b": 1, "c": 2}}
