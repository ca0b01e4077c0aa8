"""Training on stored answers is training with the teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Mixing, ViewPolicy
from exrep_hf.teacher.cache import Storage
from tests.processes import Processes, finish

MakeTrainer = Callable[..., DistillationTrainer]
AUGMENTATION = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")
ALL_TERMS: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0}
MIXED: dict[str, Any] = {"mixup": 1.0, "cutmix": 1.0, "crd_weight": 0.0}


def history(trainer: DistillationTrainer) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name.startswith("loss")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def store(teacher: OnlineTeacher, images: datasets.Dataset, folder: Path, dtype: str, args: dict[str, Any]) -> Any:
    views = ViewPolicy(2, 42, AUGMENTATION, Mixing(args["mixup"], args["cutmix"]))
    return CachedTeacher.write(teacher, images, folder, views, Storage(dtype, rows_per_shard=8, batch_size=4))


@pytest.mark.parametrize("args", [ALL_TERMS, MIXED], ids=["all terms", "mixed images"])
def test_losses_are_those_of_the_teacher_itself(
    args: dict[str, Any],
    make_trainer: MakeTrainer,
    make_images: Callable[[int], datasets.Dataset],
    teacher: OnlineTeacher,
    tmp_path: Path,
) -> None:
    """Five epochs of two views: exactly with float32, and to its accuracy with float16."""
    images = make_images(22)
    common: dict[str, Any] = {"train_dataset": images, "augmentation": AUGMENTATION, "num_train_epochs": 5}
    # At higher rates training itself blows roundings up, under some seeds and releases of torch to several percent.
    common |= {"max_steps": -1, "learning_rate": 1e-3, **args}
    online = make_trainer(views=2, **common)
    online.train()
    expected = history(online)
    assert len(expected) == 30
    whole = make_trainer(teacher=store(teacher, images, tmp_path / "a", "float32", args), **common)
    whole.train()
    assert history(whole) == expected
    half = make_trainer(teacher=store(teacher, images, tmp_path / "b", "float16", args), **common)
    half.train()
    for found, wanted in zip(history(half), expected, strict=True):
        assert found == pytest.approx(wanted, rel=5e-3, abs=3e-4)
    assert history(half) != expected
    # Another epoch's view would be an answer for other pixels.
    fresh = make_trainer(**common)
    fresh.train()
    assert history(fresh)[-1] != expected[-1]


@pytest.mark.parametrize("answers", ["queried", "stored"])
@pytest.mark.parametrize("args", [ALL_TERMS, MIXED], ids=["all terms", "mixed images"])
def test_varied_views_are_resumed_to_the_bit(
    args: dict[str, Any],
    answers: str,
    make_trainer: MakeTrainer,
    make_images: Callable[[int], datasets.Dataset],
    teacher: OnlineTeacher,
    tmp_path: Path,
) -> None:
    """Views in a checkpoint's facts come back from JSON with lists for tuples: every resumption was refused."""
    images = make_images(22)
    source = teacher if answers == "queried" else store(teacher, images, tmp_path / "a", "float32", args)
    settings: dict[str, Any] = {"teacher": source, "train_dataset": images, "augmentation": AUGMENTATION, "views": 2}
    settings |= {"max_steps": 9, "save_strategy": "steps", "save_steps": 4, **args}
    whole = make_trainer(**settings)
    whole.train()
    again = make_trainer(**settings)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert history(again) == history(whole) and len(history(whole)) == 9
    for one, other in zip(whole.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)
    other_views = make_trainer(**settings | {"views": 2, "seed": 43, "teacher": teacher, "augmentation": None})
    with pytest.raises(ValueError, match="is of another run .*views: .*0.3.* in the checkpoint"):
        other_views.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))


def test_seed_of_the_views_is_the_stored_one(
    make_trainer: MakeTrainer, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Students of several seeds share one store: the order differs, the pixels of row and view don't."""
    images = make_images(9)
    cached = store(teacher, images, tmp_path / "a", "float32", ALL_TERMS)
    items = []
    for seed in (42, 43):
        trainer = make_trainer(teacher=cached, train_dataset=images, augmentation=AUGMENTATION, seed=seed)
        dataset: Any = trainer.train_dataset
        items.append(dataset[3])
    assert torch.equal(items[0]["pixel_values"], items[1]["pixel_values"])
    assert "teacher_pixel_values" not in items[0]


def test_what_does_not_fit_is_refused_before_training(
    make_trainer: MakeTrainer, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    images = make_images(9)
    cached = store(teacher, images, tmp_path / "a", "float32", ALL_TERMS)
    given: dict[str, Any] = {"teacher": cached, "train_dataset": images, "augmentation": AUGMENTATION}
    with pytest.raises(ValueError, match="`augmentation` Augmentation.* stored, None now"):
        make_trainer(**given | {"augmentation": None})
    with pytest.raises(ValueError, match="`mixup` 0.0 stored, 1.0 now"):
        make_trainer(**given, mixup=1.0, crd_weight=0.0)
    with pytest.raises(ValueError, match="`views` 2 stored, 3 now"):
        make_trainer(**given, views=3)
    with pytest.raises(ValueError, match="another data set: one with 9 images, .* `train_dataset` has 8"):
        make_trainer(**given | {"train_dataset": images.select(range(8))})
    with pytest.raises(ValueError, match="another data set"):
        make_trainer(**given | {"train_dataset": images.select(reversed(range(9)))})
    # Labels alone need no teacher, and no stored views.
    labels = make_trainer(
        **given | {"augmentation": None}, ce_weight=1, kd_weight=0, crd_weight=0, adversarial_weight=0
    )
    labels.train()
    assert make_trainer(**given, views=2).evaluate(images)["eval_accuracy"] >= 0


def test_views_need_rows_that_can_be_asked_for(make_trainer: MakeTrainer) -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(ValueError, match="is a Stream, which only yields its items one by one"):
        make_trainer(train_dataset=Stream(), views=2, crd_weight=0)


@pytest.mark.parametrize("case", ["all terms", "mixed images"])
def test_two_processes(case: str, processes: Processes, tmp_path: Path) -> None:
    """Both processes read the answers of their own images; losses are those of two with the teacher."""
    finish(processes.start("tests.training.stored_answers_run", 2, str(tmp_path), case))
    for rank in range(2):
        online, cached = torch.load(tmp_path / f"losses-{rank}.pt")
        assert len(online) == 9 and online == cached


def test_a_data_set_with_a_transform_of_its_own(
    make_trainer: MakeTrainer, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Its pixels are not those of the stored views, whatever `augmentation` says."""
    images = make_images(9)
    cached = store(teacher, images, tmp_path / "a", "float32", ALL_TERMS)
    plain: Any = make_trainer(train_dataset=images).train_dataset
    with pytest.raises(ValueError, match="augments its images by None, and the teacher's answers are stored for Augm"):
        make_trainer(teacher=cached, train_dataset=plain.dataset, augmentation=AUGMENTATION)


def test_no_loss_to_find_the_best_model_by(
    make_trainer: MakeTrainer, make_images: Any, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Found before the first epoch, and not by a KeyError after it."""
    images = make_images(9)
    cached = store(teacher, images, tmp_path / "a", "float32", ALL_TERMS)
    given: dict[str, Any] = {"teacher": cached, "train_dataset": images, "eval_dataset": images}
    given |= {"augmentation": AUGMENTATION, "ce_weight": 0.0, "load_best_model_at_end": True}
    given |= {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    with pytest.raises(ValueError, match="`load_best_model_at_end` goes by the evaluation's loss, and there is none"):
        make_trainer(**given)
    make_trainer(**given, metric_for_best_model="accuracy").train()
