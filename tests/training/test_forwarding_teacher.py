"""A wrapper that only forwards keeps every guarantee of the teacher inside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from exrep_hf import CachedTeacher, DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Mixing, Preprocessing, ViewPolicy
from exrep_hf.teacher import TeacherSource
from exrep_hf.teacher.cache import Storage
from tests.teacher.forwarding import Forwarding

MakeTrainer = Callable[..., DistillationTrainer]
AUGMENTATION = Augmentation(scale=(0.3, 1.0), auto_augment="rand-m5-n1")
# Another size and normalisation than the student's.
LARGER = Preprocessing(20, 20, None, "bilinear", (0.4,) * 3, (0.2,) * 3)


@pytest.fixture
def online(make_network: Any) -> OnlineTeacher:
    return OnlineTeacher(make_network(seed=1, width=12), LARGER.to_image_processor())


@pytest.fixture
def images(make_images: Callable[[int], datasets.Dataset]) -> datasets.Dataset:
    return make_images(10)


@pytest.fixture
def cached(online: OnlineTeacher, images: datasets.Dataset, tmp_path: Path) -> CachedTeacher:
    views = ViewPolicy(2, 7, AUGMENTATION, Mixing(1.0, 1.0))
    return CachedTeacher.write(online, images, tmp_path / "answers", views, Storage("float32", top_k=2))


def trained(trainer: DistillationTrainer) -> list[dict[str, float]]:
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [{name: value for name, value in entry.items() if name.startswith("loss")} for entry in logs]


@pytest.mark.parametrize("kind", ["online", "cached"])
def test_the_same_run(
    kind: str, make_trainer: MakeTrainer, images: datasets.Dataset, online: OnlineTeacher, cached: CachedTeacher
) -> None:
    """Views, pixels, temperature, losses and the facts in checkpoints are those of the source, to the bit."""
    source: TeacherSource = online if kind == "online" else cached
    settings: dict[str, Any] = {"mixup": 1.0, "cutmix": 1.0, "crd_weight": 0.0, "temperature": 2.5, "max_steps": 6}
    settings |= {"train_dataset": images, "eval_dataset": images, "augmentation": AUGMENTATION}
    plain, wrapped = (make_trainer(teacher=each, **settings) for each in (source, Forwarding(source)))
    assert trained(plain) == trained(wrapped)
    assert plain.run_facts() == wrapped.run_facts() and wrapped.run_facts()["teacher"] == source.fingerprint
    judged = [
        {k: v for k, v in each.evaluate().items() if "runtime" not in k and "second" not in k}
        for each in (plain, wrapped)
    ]
    assert judged[0] == judged[1]
    assert ("eval_teacher_agreement" in judged[1]) == (kind == "online")


def test_stored_answers_are_guarded(
    make_trainer: MakeTrainer, images: datasets.Dataset, cached: CachedTeacher, make_images: Any
) -> None:
    """Each of these trained on other images or views than the answers are for, without a word."""
    given: dict[str, Any] = {"teacher": Forwarding(cached), "train_dataset": images, "augmentation": AUGMENTATION}
    given |= {"mixup": 1.0, "cutmix": 1.0, "crd_weight": 0.0}
    make_trainer(**given)
    for changes, message in (
        ({"train_dataset": make_images(11)}, "another data set: one with 10 images, .* `train_dataset` has 11"),
        ({"train_dataset": images.select(reversed(range(10)))}, "another data set"),
        ({"augmentation": None}, "`augmentation` Augmentation.* stored, None now"),
        ({"mixup": 0.5}, "`mixup` 1.0 stored, 0.5 now"),
        ({"views": 3}, "`views` 2 stored, 3 now"),
        ({"temperature": 0.3}, "`temperature` is 0.3; answers stored with `top_k`"),
        (
            {"load_best_model_at_end": True, "ce_weight": 0.0, "eval_dataset": images}
            | {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2},
            "`load_best_model_at_end` goes by the evaluation's loss",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(**given | changes)


def test_networks_are_guarded(make_trainer: MakeTrainer, make_network: Any, make_student: Any) -> None:
    """Classes and weights are compared with the student's through the wrapper."""
    with pytest.raises(ValueError, match="The student has 1 of 4 classes that the teacher does not know"):
        make_trainer(teacher=Forwarding(OnlineTeacher(make_network(seed=1, num_labels=3))), ce_weight=0.0)
    foreign = make_network(seed=1)
    foreign.config.id2label = {label: f"n{label}" for label in range(4)}
    with pytest.raises(ValueError, match="4 of 4 classes that the teacher does not know"):
        make_trainer(teacher=Forwarding(OnlineTeacher(foreign)))
    student = make_student()
    with pytest.raises(ValueError, match="the same network, or share weights"):
        make_trainer(model=student, teacher=Forwarding(OnlineTeacher(student.classifier)))


def test_a_checkpoint_knows_the_wrapped_teacher(make_trainer: MakeTrainer, make_network: Any, tmp_path: Path) -> None:
    first, other = (Forwarding(OnlineTeacher(make_network(seed=seed, width=12))) for seed in (1, 5))
    make_trainer(teacher=first, save_strategy="steps", save_steps=2, max_steps=2).train()
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    make_trainer(teacher=first, max_steps=3).train(resume_from_checkpoint=checkpoint)
    with pytest.raises(ValueError, match="is of another run .*teacher: "):
        make_trainer(teacher=other, max_steps=3).train(resume_from_checkpoint=checkpoint)


def test_stored_through_a_wrapper(online: OnlineTeacher, images: datasets.Dataset, tmp_path: Path) -> None:
    """The same folder, to the byte; stored answers are not stored once more."""
    plain = CachedTeacher.write(online, images, tmp_path / "a")
    wrapped = CachedTeacher.write(Forwarding(online), images, tmp_path / "b")
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (tmp_path / "b" / "manifest.json").read_bytes()
    assert plain.fingerprint == wrapped.fingerprint
    with pytest.raises(ValueError, match="answers of the teacher, a Forwarding, are stored already"):
        CachedTeacher.write(Forwarding(plain), images, tmp_path / "c")


class WithoutLogits(Forwarding):
    num_labels = None


class WithoutFeatures(Forwarding):
    feature_dim = None


def test_answers_that_are_missing(
    make_trainer: MakeTrainer, online: OnlineTeacher, images: Any, tmp_path: Path
) -> None:
    """A term that compares what the teacher does not give is found before training, and named."""
    unlabelled: dict[str, Any] = {"train_dataset": images.remove_columns("label"), "ce_weight": 0.0}
    with pytest.raises(ValueError, match="WithoutLogits, needs a classifier .* no rows with labels.*teacher_head='none'"):
        make_trainer(teacher=WithoutLogits(online), **unlabelled)
    with pytest.raises(ValueError, match="WithoutFeatures, gives no features"):
        make_trainer(teacher=WithoutFeatures(online))
    make_trainer(teacher=WithoutLogits(online), train_dataset=images, kd_weight=0.0)
    make_trainer(teacher=WithoutFeatures(online), train_dataset=images, crd_weight=0.0, adversarial_weight=0.0)
    # What a teacher says of itself decides what is stored, and not what it says besides.
    assert CachedTeacher.write(WithoutFeatures(online), images, tmp_path / "logits").feature_dim is None
    assert CachedTeacher.write(WithoutLogits(online), images, tmp_path / "features").num_labels is None
