"""Classes that are not what they are called, by what the teacher says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from exrep_hf.training.class_look import Look, look_at_answers, rows_to_look_at, told
from tests.training.test_classes import LOGITS, NAMES, PROCESSOR, ByShade, shades


def looked(guess: Callable[[Tensor], Tensor], labels: Tensor, num_labels: int) -> Look:
    def answer(rows: list[int]) -> tuple[Tensor, None]:
        return torch.nn.functional.one_hot(guess(labels[rows]), num_labels).float(), None

    look = look_at_answers(rows_to_look_at(labels), labels, answer, batch_size=7)
    assert look is not None
    return look


def test_rows() -> None:
    """Ten of each of at most twenty classes, from all over the data set."""
    labels = torch.arange(3000) % 100
    rows = rows_to_look_at(labels)
    assert len(rows) == len(set(rows)) == 200
    counts = labels[rows].bincount(minlength=100)
    assert sorted(counts.unique().tolist()) == [0, 10] and counts[0] == counts[99] == 10
    assert min(rows) < 100 and max(rows) >= 2900
    # Nineteen have too few, and one alone tells nothing of order.
    assert rows_to_look_at(torch.arange(28) % 20) == []
    assert rows_to_look_at(torch.zeros(50, dtype=torch.long)) == []
    assert len(rows_to_look_at(torch.tensor([-1] * 20 + [0] * 10 + [1] * 10))) == 20


def test_an_order_that_is_another_one() -> None:
    labels = torch.arange(2000) % 50
    look = looked(lambda truth: (truth + 1) % 50, labels, 50)
    assert (look.accuracy, look.reordered, look.images, look.classes) == (0.0, 1.0, 200, 20)
    with pytest.raises(
        ValueError, match="right about 0.0% of 200 training images, as good as guessing .2.0%., and about 100.0%"
    ):
        told(look, 50)


def test_a_teacher_that_knows_nothing_is_no_other_order() -> None:
    """Fitted and scored on the same images guesses of 100 classes reach 0.4: here they have to be right on others."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) % 100
    for _ in range(20):
        look = looked(lambda truth: torch.randint(100, truth.shape, generator=generator), labels, 100)
        assert look.reordered < 0.15 and not look.is_another_order
    assert not looked(torch.zeros_like, labels, 100).is_another_order
    # Two answers for four classes of ten: half of them are right in some order.
    look = looked(lambda truth: 8 + truth % 2, torch.arange(400) % 4, 10)
    assert (look.accuracy, look.reordered) == (0.0, 0.5) and not look.is_another_order


def test_a_weak_teacher_is_no_other_order() -> None:
    """Right about a third, and steadily wrong about the rest: above chance, so its names have a meaning."""
    labels = torch.arange(2000) % 10
    look = looked(lambda truth: torch.where(truth < 3, truth, 3 + (truth - 2) % 7), labels, 10)
    assert look.accuracy == pytest.approx(0.3) and look.reordered == 1 and not look.is_another_order


def test_many_classes_take_little_memory() -> None:
    labels = torch.arange(400) % 20
    answers = torch.zeros(200, 21843)
    answers[torch.arange(200), 21000 + torch.arange(200) // 10] = 1
    rows = rows_to_look_at(labels)
    look = look_at_answers(rows, labels, lambda part: (answers[[rows.index(row) for row in part]], None), 50)
    assert look is not None and look.reordered == 1


def test_mixed_images_count_by_their_larger_part() -> None:
    labels = torch.arange(40) % 2
    shares = torch.tensor([[0.6, 0.4]])
    look = look_at_answers(
        rows_to_look_at(labels),
        labels,
        lambda rows: (torch.tensor([[1.0, 0.0]]).expand(len(rows), 2), shares.expand(len(rows), 2)),
        4,
    )
    assert look is not None and look.accuracy == 1 and look.classes == 1


def test_mixtures_of_what_has_no_label_tell_nothing() -> None:
    """A third of a class beside an image without a label would count as that class."""
    labels = torch.arange(40) % 2
    shares = torch.tensor([[0.3, 0.0], [0.0, 0.6]]).repeat(2, 1)
    answer = torch.tensor([[0.0, 1.0]]).expand(4, 2)
    look = look_at_answers(rows_to_look_at(labels), labels, lambda rows: (answer, shares), 4)
    assert look is not None and (look.images, look.accuracy, look.classes) == (10, 1.0, 1)
    assert look_at_answers([0, 1, 2, 3], labels, lambda rows: (answer, 0.4 * shares), 4) is None


def test_before_training(make_trainer: Any, make_network: Any, capsys: Any) -> None:
    """A teacher whose `id2label` is wrong is refused before the first step; a right one is said to be right."""
    model, images = make_network(seed=1), shades(NAMES, 48)
    model.config.id2label = dict(enumerate(NAMES))
    student = make_network(seed=3)
    student.config.id2label = dict(enumerate(NAMES))
    given = {"model": student, "train_dataset": images, "max_steps": 1} | LOGITS
    make_trainer(teacher=ByShade(model, PROCESSOR), **given).train()
    assert "the teacher is right about 100.0% of 40 training images of 4 classes" in capsys.readouterr().out

    class Shifted(ByShade):
        def __call__(self, batch: Any, *, temperature: float = 1.0) -> Any:
            answer = super().__call__(batch)
            answer.logits = answer.logits.roll(1, -1)
            return answer

    trainer = make_trainer(teacher=Shifted(model, PROCESSOR), **given)
    with pytest.raises(ValueError, match="and about 100.0% if its classes stand in another order"):
        trainer.train()
    assert trainer.state.global_step == 0
    make_trainer(teacher=Shifted(model, PROCESSOR), **given | {"train_dataset": images.select(range(20))}).train()
    assert "the teacher's answers were not looked at: that takes 10 labelled images" in capsys.readouterr().out
