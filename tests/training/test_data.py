"""Data sets of all kinds, and errors before the first step."""

from collections.abc import Callable
from typing import Any

import datasets
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.data import Augmentation, Preprocessing
from exrep_hf.teacher import CachedTeacher
from exrep_hf.teacher.cache import Storage

MakeTrainer = Callable[..., Any]
MakeRows = Callable[..., Any]
MakeImages = Callable[[int], datasets.Dataset]

LOGITS_ONLY = {"crd_weight": 0.0, "adversarial_weight": 0.0}
STUDENT = Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.25,) * 3)


def test_images_and_labels_in_columns(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """The data set is used as it comes from the Hub: its rows give the bank its numbers and classes."""
    images = make_images(12)
    trainer = make_trainer(train_dataset=images, eval_dataset=images)
    assert trainer.distillation_objective.crd.negatives.labels.tolist() == images["label"][:]
    trainer.train()
    item = trainer.train_dataset[5]
    assert torch.equal(item["pixel_values"], STUDENT.evaluation_pixels(images[5]["image"]))
    assert (item["labels"], item["sample_index"]) == (1, 5)
    assert "teacher_pixel_values" not in item
    assert trainer.evaluate()["eval_accuracy"] >= 0


def test_teacher_gets_images_in_its_own_way(
    make_trainer: MakeTrainer, make_images: MakeImages, make_network: Any
) -> None:
    """A teacher that sees the student's size and normalisation answers for images it never learned."""
    own = Preprocessing(20, 20, None, "bicubic", (0.1,) * 3, (0.9,) * 3)
    images = make_images(12)
    teacher = OnlineTeacher(make_network(seed=1), own.to_image_processor())
    trainer = make_trainer(train_dataset=images, eval_dataset=images, teacher=teacher)
    item = trainer.train_dataset[5]
    assert torch.equal(item["teacher_pixel_values"], own.evaluation_pixels(images[5]["image"]))
    assert torch.equal(item["pixel_values"], STUDENT.evaluation_pixels(images[5]["image"]))
    seen = []
    teacher.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    trainer.train()
    trainer.evaluate()
    assert {shape[-2:] for shape in seen} == {(20, 20)}


def test_augmentation_varies_training_images_alone(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """An augmented evaluation set gives other numbers at each evaluation."""
    images = make_images(12)
    trainer = make_trainer(train_dataset=images, eval_dataset=images, augmentation=Augmentation())
    plain = STUDENT.evaluation_pixels(images[3]["image"])
    assert not torch.equal(trainer.train_dataset[3]["pixel_values"], plain)
    assert torch.equal(trainer.eval_dataset[3]["pixel_values"], plain)
    first = trainer.train_dataset[3]["pixel_values"]
    trainer.train_dataset.set_epoch(1)
    assert not torch.equal(trainer.train_dataset[3]["pixel_values"], first)


def test_every_epoch_has_its_own_views(
    make_trainer: MakeTrainer, make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same crops in every epoch, augmentation is none."""
    trainer = make_trainer(
        train_dataset=make_images(8), augmentation=Augmentation(), max_steps=-1, num_train_epochs=3, **LOGITS_ONLY
    )
    views: dict[int, list[float]] = {}

    def note(batch: dict[str, torch.Tensor], training: bool) -> Any:
        for index, image in zip(batch["sample_index"].tolist(), batch["pixel_values"], strict=True):
            views.setdefault(index, []).append(image.sum().item())
        return ask(batch, training)

    ask = trainer.ask_teacher
    monkeypatch.setattr(trainer, "ask_teacher", note)
    trainer.train()
    assert sorted(views) == list(range(8))
    assert all(len(set(sums)) == 3 for sums in views.values())


def test_hf_dataset_with_a_transform(make_trainer: MakeTrainer, make_images: MakeImages) -> None:
    """Who made their own transform keeps it, and gets the same checks."""

    def to_tensors(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            "pixel_values": [STUDENT.evaluation(image) for image in rows["image"]],
            "labels": rows["label"],
            "sample_index": rows["row"],
        }

    numbered = make_images(12).add_column("row", list(range(12)))
    trainer = make_trainer(train_dataset=numbered.with_transform(to_tensors), eval_dataset=numbered)
    trainer.train()
    assert trainer.state.global_step == 4
    outside = numbered.map(lambda row: {"row": row["row"] + 1})
    with pytest.raises(ValueError, match="`sample_index` of row 0 of `train_dataset` is 1; expected .* 0 to 11"):
        make_trainer(train_dataset=outside.with_transform(to_tensors))


class Labelled(Dataset):
    """Another user's data set, with its classes in `labels`."""

    def __init__(self, rows: Any, labels: list[int]) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def test_classes_of_a_torch_dataset(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """With known classes, no negative is of the image's own; without, that is learned as batches pass."""
    rows = make_rows(12)
    known = make_trainer(train_dataset=Labelled(rows, [row % 4 for row in range(12)]))
    assert known.distillation_objective.crd.negatives.registered
    unknown = make_trainer(train_dataset=rows, max_steps=3)
    assert not unknown.distillation_objective.crd.negatives.registered
    unknown.train()
    assert unknown.distillation_objective.crd.negatives.labels.tolist() == [row % 4 for row in range(12)]
    with pytest.raises(ValueError, match="at least two classes"):
        make_trainer(train_dataset=Labelled(rows, [0] * 12))
    with pytest.raises(ValueError, match="one label per training image"):
        make_trainer(train_dataset=Labelled(rows, [0, 1]))


class Endless(IterableDataset):
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        while True:
            yield from (self.rows[row] for row in range(len(self.rows)))


def test_endless_data(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """A stream has no number of images, so no bank; everything else works."""
    trainer = make_trainer(train_dataset=Endless(make_rows(12)), crd_weight=0.0)
    trainer.train()
    assert trainer.state.global_step == 4
    with pytest.raises(ValueError, match="number of training images is unknown.*set `crd_weight` to 0"):
        make_trainer(train_dataset=Endless(make_rows(12)))


def test_evaluation_alone(make_trainer: MakeTrainer, make_rows: MakeRows) -> None:
    """Judging a student needs no training data."""
    trainer = make_trainer(train_dataset=None, eval_dataset=make_rows(10), **LOGITS_ONLY)
    assert trainer.evaluate()["eval_accuracy"] >= 0


def test_faults_of_the_data_are_found_at_construction(
    make_trainer: MakeTrainer, make_rows: MakeRows, make_images: MakeImages
) -> None:
    """What is found after hours of loading, or never, was known at the start."""
    images = make_images(12)
    for changes, message in [
        ({"train_dataset": make_rows(12, without=("labels",))}, r"Row 0 of `train_dataset` has no \['labels'\]"),
        ({"train_dataset": make_rows(0)}, "`train_dataset` is empty"),
        ({"eval_dataset": make_rows(0)}, "`eval_dataset` is empty"),
        ({"eval_dataset": {"a": make_rows(3), "b": make_rows(3, without=("pixel_values",))}}, "`eval_dataset` has no"),
        ({"train_dataset": images.select([])}, "data set is empty"),
        ({"train_dataset": images.remove_columns("image")}, "image column is not known.*label"),
        ({"train_dataset": images.remove_columns("label")}, r"has no \['labels'\]"),
        ({"eval_dataset": images.cast_column("label", datasets.Value("int64")).map(_shifted)}, "label in row 1.*is 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_trainer(**changes)


def _shifted(row: dict[str, Any]) -> dict[str, int]:
    return {"label": row["label"] + 3}


def test_images_without_known_preprocessing(
    make_args: Any, make_network: Any, make_images: MakeImages, teacher: OnlineTeacher
) -> None:
    """Guessing how a model wants its images costs accuracy that nobody misses."""
    images = make_images(12)
    with pytest.raises(ValueError, match="How the student wants its images is not known. Pass .*`processing_class`"):
        DistillationTrainer(make_network(seed=3), teacher, make_args(), images)
    with pytest.raises(ValueError, match=r"How the teacher, a ResNet\w+, wants .*Pass `OnlineTeacher\("):
        DistillationTrainer(
            make_network(seed=3),
            make_network(seed=1),
            make_args(),
            images,
            processing_class=STUDENT.to_image_processor(),
        )


def test_stored_answers_train_like_the_teacher_itself(
    make_trainer: MakeTrainer, make_images: MakeImages, teacher: OnlineTeacher, parameters: Any, tmp_path: Any
) -> None:
    """A cache off by one row, or by a dtype, trains quietly towards something else."""
    images = make_images(12)
    online = make_trainer(train_dataset=images)
    online.train()
    expected = parameters(online)
    for dtype, tolerance in (("float32", 0.0), ("float16", 2e-2)):
        storage = Storage(dtype, batch_size=4)
        stored = CachedTeacher.write(teacher, online.train_dataset.dataset, tmp_path / dtype, storage=storage)
        trainer = make_trainer(train_dataset=images, teacher=stored, eval_dataset=images)
        start = parameters(trainer)
        trainer.train()
        for name, value in parameters(trainer).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=tolerance, msg=name)
        head = "student.classifier.classifier.1.weight"
        assert (expected[head] - start[head]).abs().max() > 1e-2
        metrics = trainer.evaluate()
        assert "eval_teacher_agreement" not in metrics and "eval_loss_kd" not in metrics
        assert metrics["eval_loss"] == pytest.approx(metrics["eval_loss_ce"])


def test_stored_answers_for_other_images(
    make_trainer: MakeTrainer, make_rows: MakeRows, make_images: MakeImages, teacher: OnlineTeacher, tmp_path: Any
) -> None:
    """Answers to plain images don't fit crops, and a part of a data set numbers its rows anew."""
    images = make_images(12)
    rows = make_trainer(train_dataset=images).train_dataset.dataset
    stored = CachedTeacher.write(teacher, rows, tmp_path / "answers")
    with pytest.raises(ValueError, match="`augmentation` None stored, Augmentation"):
        make_trainer(train_dataset=images, teacher=stored, augmentation=Augmentation())
    with pytest.raises(ValueError, match="one with 12 images, fingerprint [0-9a-f]+; `train_dataset` has 11"):
        make_trainer(train_dataset=images.select(range(11)), teacher=stored)
    with pytest.raises(ValueError, match="are stored for another data set"):
        make_trainer(train_dataset=make_rows(12, without=("sample_index",)), teacher=stored, **LOGITS_ONLY)
