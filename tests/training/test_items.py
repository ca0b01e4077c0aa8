"""What items hold is what is trained on: pixels, a teacher's answers, rows."""

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset
from transformers import ViTConfig, ViTForImageClassification

from exrep_hf import DistillationTrainer, OnlineTeacher, TeacherEnsemble
from exrep_hf.data import Augmentation, DistillationDataset, Preprocessing, ViewTransform, collate_distillation
from exrep_hf.teacher import GivenAnswers
from tests.training.conftest import CLASSES, PREPROCESSING, SIZE, TensorRows

MakeTrainer = Callable[..., DistillationTrainer]
MakeImages = Callable[[int], datasets.Dataset]

OTHER = Preprocessing(SIZE, SIZE, None, "bilinear", (0.1,) * 3, (0.9,) * 3)
KD: dict[str, Any] = {"crd_weight": 0.0, "adversarial_weight": 0.0, "ce_weight": 0.0}
ANSWERED: dict[str, Any] = {"teacher": None, "max_steps": 2}


class With(Dataset):
    """Rows with more or other keys."""

    def __init__(self, rows: Any, more: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        self.rows, self.more = rows, more

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = self.rows[row]
        return {name: value for name, value in (item | self.more(row, item)).items() if value is not ...}


class Stream(IterableDataset):
    """Yields rows one by one, and may say how many there are."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        yield from (self.rows[row] for row in range(len(self.rows)))

    def __len__(self) -> int:
        return len(self.rows)


# Pixels


@pytest.fixture
def other_teacher(make_network: Any) -> OnlineTeacher:
    return OnlineTeacher(make_network(seed=1), OTHER.to_image_processor())


def to_student(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {"pixel_values": [PREPROCESSING.evaluation(each) for each in rows["image"]], "labels": rows["label"]}


def test_a_teacher_does_not_get_the_students_pixels(
    make_trainer: MakeTrainer, make_images: MakeImages, other_teacher: OnlineTeacher, teacher: OnlineTeacher
) -> None:
    """It answers for images that it never learnt, and nothing but the accuracy shows it."""
    rows, images = TensorRows(8), make_images(8)
    told = r"no `teacher_pixel_values`, only .*: mean \(0.5.* for the student, \(0.1.* for the teacher; std"
    for train in (rows, images.with_transform(to_student)):
        with pytest.raises(ValueError, match=f"Row 0 of `train_dataset` has {told}.*Pass the HF `Dataset` of images"):
            make_trainer(teacher=other_teacher, train_dataset=train)
    with pytest.raises(ValueError, match=f"Row 0 of `eval_dataset` has {told}"):
        make_trainer(teacher=other_teacher, train_dataset=images, eval_dataset={"a": images, "b": rows})
    ensemble = TeacherEnsemble([teacher, other_teacher])
    with pytest.raises(ValueError, match="has no `teacher_pixel_values_1`"):
        make_trainer(teacher=ensemble, train_dataset=rows)
    with_pixels = With(rows, lambda row, item: {"teacher_pixel_values": item["pixel_values"] * 0.25})
    make_trainer(teacher=other_teacher, train_dataset=with_pixels, max_steps=1).train()
    # A teacher that nobody asks gets nothing wrong.
    make_trainer(teacher=other_teacher, train_dataset=rows, kd_weight=0, crd_weight=0, adversarial_weight=0)


def test_batches_and_streams_are_looked_at_too(
    make_trainer: MakeTrainer, other_teacher: OnlineTeacher, make_args: Any, make_student: Any
) -> None:
    """A collator may bring the teacher's pixels, or take them away; a stream is seen when it runs."""
    with pytest.raises(ValueError, match="The batch has no `teacher_pixel_values`"):
        make_trainer(teacher=other_teacher, train_dataset=Stream(TensorRows(8)), **KD).train()

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate_distillation(items)
        return batch | {"teacher_pixel_values": batch["pixel_values"] * 0.25}

    given: dict[str, Any] = {"processing_class": PREPROCESSING.to_image_processor(), "augmentation": None}
    given |= {"train_dataset": TensorRows(8), "args": make_args(max_steps=1)}
    DistillationTrainer(make_student(), other_teacher, data_collator=collate, **given).train()
    with pytest.raises(ValueError, match="The batch has no `teacher_pixel_values`"):
        DistillationTrainer(
            make_student(), other_teacher, data_collator=lambda i: collate_distillation(i), **given
        ).train()


def vit() -> ViTForImageClassification:
    names = {label: str(label) for label in range(CLASSES)}
    sizes: Any = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return ViTForImageClassification(ViTConfig(image_size=SIZE, patch_size=8, id2label=names, **sizes))


def test_a_network_of_a_fixed_size(make_trainer: MakeTrainer, make_network: Any) -> None:
    """Such a network fails in its first step, after all that is loaded and started before it, in words of its own."""
    smaller = With(TensorRows(8), lambda row, item: {"pixel_values": item["pixel_values"][:, :8, :8]})
    with pytest.raises(
        ValueError, match="The student, a ViTForImageClassification, can't take images of 3 channels, 8 × 8"
    ):
        make_trainer(model=vit(), train_dataset=smaller, **KD | {"ce_weight": 1.0})
    with pytest.raises(
        ValueError, match="The teacher, a ViTForImageClassification, can't answer the first training image"
    ):
        teacher = OnlineTeacher(vit(), PREPROCESSING.to_image_processor())
        make_trainer(teacher=teacher, train_dataset=smaller)
    # A convolutional network takes any size.
    before = make_network(seed=3).state_dict()
    trainer = make_trainer(train_dataset=smaller, max_steps=1, **KD)
    for name, value in trainer.student.classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
    trainer.train()


def test_pixels_of_another_kind(make_trainer: MakeTrainer) -> None:
    """Numbers from 0 to 255 train, too, towards nothing."""
    for more, message in [
        (lambda row, item: {"pixel_values": torch.ones(3, SIZE, SIZE, dtype=torch.uint8)}, "is of torch.uint8; exp"),
        (
            lambda row, item: {"pixel_values": item["pixel_values"].permute(1, 2, 0)},
            r"shape \(16, 16, 3\); expected \(3",
        ),
    ]:
        with pytest.raises(ValueError, match=f"`pixel_values` of row 0 of `train_dataset` .*{message}"):
            make_trainer(train_dataset=With(TensorRows(8), more))


def test_images_that_are_called_pixel_values(
    make_trainer: MakeTrainer, make_images: MakeImages, other_teacher: OnlineTeacher
) -> None:
    """They are images as any others, to be cropped and normalised; arrays of that name are tensors already."""
    images = make_images(8)
    named = images.rename_column("image", "pixel_values")
    trainer = make_trainer(train_dataset=named, eval_dataset=named, teacher=other_teacher)
    image = images[3]["image"]
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        item: Any = dataset[3]  # type: ignore[index]
        assert torch.equal(item["pixel_values"], PREPROCESSING.evaluation_pixels(image))
        assert torch.equal(item["teacher_pixel_values"], OTHER.evaluation_pixels(image))
    arrays = datasets.Dataset.from_dict({"pixel_values": TensorRows(8).images.numpy(), "labels": [0, 1] * 4})
    item = make_trainer(train_dataset=arrays).train_dataset[3]  # type: ignore[index]
    assert torch.equal(item["pixel_values"], TensorRows(8).images[3])


# A teacher's answers


def answers(row: int, item: dict[str, Any]) -> dict[str, Any]:
    generator = np.random.default_rng(row)
    return {"teacher_logits": generator.normal(size=CLASSES), "teacher_features": generator.normal(size=6)}


def test_answers_in_items_are_the_teachers(
    make_trainer: MakeTrainer, make_images: MakeImages, logged: Any, parameters: Any
) -> None:
    """The terms compare with what the items hold, and nothing else: here against a source that looks the same up."""
    rows = With(TensorRows(8), answers)
    table = [answers(row, {}) for row in range(8)]

    class LookUp(GivenAnswers):
        def __call__(self, batch: Any, *, temperature: float = 1.0) -> Any:
            own = [table[row] for row in batch["sample_index"].tolist()]
            return super().__call__({key: torch.tensor(np.array([each[key] for each in own])) for key in own[0]})

    one = make_trainer(train_dataset=rows, eval_dataset=rows, **ANSWERED)
    other = make_trainer(train_dataset=TensorRows(8), max_steps=2, teacher=LookUp(CLASSES, 6), classes="position")
    for trainer in (one, other):
        trainer.train()
    for name, value in parameters(one).items():
        assert torch.equal(value, parameters(other)[name]), name
    for name in ("loss_kd", "loss_crd", "loss_adversarial"):
        assert logged(one, name) == logged(other, name) and len(logged(one, name)) == 2
    assert 0 <= one.evaluate()["eval_teacher_agreement"] <= 1
    # An evaluation without answers goes by labels.
    metrics = one.evaluate(TensorRows(4))
    assert "eval_loss_kd" not in metrics and metrics["eval_accuracy"] >= 0


def test_answers_in_columns(make_trainer: MakeTrainer, make_images: MakeImages, logged: Any) -> None:
    """Beside images as beside tensors."""
    images = make_images(8)
    table = [answers(row, {}) for row in range(8)]
    answered = images
    for name in table[0]:
        answered = answered.add_column(name, [each[name].tolist() for each in table])
    trainer = make_trainer(train_dataset=answered, eval_dataset=answered, **ANSWERED)
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        item: Any = dataset[5]  # type: ignore[index]
        assert torch.equal(item["pixel_values"], PREPROCESSING.evaluation_pixels(images[5]["image"]))
        for name in table[5]:
            assert torch.equal(item[name], torch.tensor(table[5][name], dtype=torch.float32))
    trainer.train()
    assert len(logged(trainer, "loss_crd")) == 2
    facts = trainer.run_facts()["content_of_images"]
    changed = answered.remove_columns("teacher_logits").add_column("teacher_logits", [[1.0] * CLASSES] * 8)
    assert make_trainer(train_dataset=changed, **ANSWERED).run_facts()["content_of_images"] != facts
    # Where no term asks for them, they don't matter: nor does a mixture of the images.
    make_trainer(train_dataset=answered, mixup=1.0, max_steps=1, **KD | {"kd_weight": 0, "ce_weight": 1.0}).train()


def test_answers_for_other_images(make_trainer: MakeTrainer, make_images: MakeImages, teacher: OnlineTeacher) -> None:
    """They are for the images as they are; and of two teachers it has to be said which."""
    rows = With(TensorRows(8), answers)
    images = make_images(8).add_column("teacher_logits", [[0.0] * CLASSES] * 8)
    with pytest.raises(
        ValueError, match=r"holds \['teacher_logits'\], .*: `augmentation` Augmentation\(.*\), `mixup` 1.0"
    ):
        make_trainer(train_dataset=images, augmentation=Augmentation(), mixup=1.0, **ANSWERED, **KD)
    with pytest.raises(ValueError, match=r"and this run varies the images: `cutmix` 0.5\. Pass"):
        make_trainer(train_dataset=rows, cutmix=0.5, views=2, **ANSWERED, **KD)
    prepared = DistillationDataset(
        images, ViewTransform(PREPROCESSING, (), Augmentation()), "image", "label", answer_columns=["teacher_logits"]
    )
    with pytest.raises(ValueError, match="varies the images: `augmentation`"):
        make_trainer(train_dataset=Subset(prepared, range(4)), **ANSWERED, **KD)
    for train in (rows, images):
        with pytest.raises(
            ValueError, match=r"`train_dataset` holds .*and `teacher` is a OnlineTeacher; expected one"
        ):
            make_trainer(train_dataset=train, teacher=teacher)
    with pytest.raises(ValueError, match=r"`eval_dataset` holds .*and `teacher` is a OnlineTeacher"):
        make_trainer(eval_dataset=rows, teacher=teacher)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"teacher_features": ...}, "gives no features, and a term that is active compares them"),
        ({"teacher_logits": np.zeros(3)}, "The teacher has 3 classes without names"),
        (
            {"teacher_logits": np.zeros((2, 4))},
            r"`teacher_logits` of the first item has the shape \(2, 4\); expected one",
        ),
        ({"teacher_features": 3.0}, r"`teacher_features` of the first item has the shape \(\)"),
        ({"teacher_features": "a"}, "`teacher_features` of the first item is a str; expected a vector"),
        (
            {"teacher_features": ..., "teacher_logits": ...},
            "No teacher was given.*let the items hold `teacher_logits`",
        ),
    ],
)
def test_answers_that_do_not_fit(more: dict[str, Any], message: str, make_trainer: MakeTrainer) -> None:
    """Each is found before the first step."""
    with pytest.raises(ValueError, match=message):
        make_trainer(train_dataset=With(TensorRows(8), lambda row, item: answers(row, item) | more), **ANSWERED)


def test_each_batch_is_looked_at(make_trainer: MakeTrainer) -> None:
    """A first item stands for all others; of a stream it is not known."""
    short = With(TensorRows(8), lambda row, item: {"teacher_logits": torch.zeros(CLASSES if row == 0 else 3)})
    with pytest.raises(ValueError, match="'teacher_logits' cannot be stacked|expected \\(batch, 4\\)"):
        make_trainer(train_dataset=short, per_device_train_batch_size=8, **ANSWERED, **KD).train()
    stream = Stream(With(TensorRows(8), answers))
    with pytest.raises(ValueError, match=r"`GivenAnswers\(|GivenAnswers"):
        make_trainer(train_dataset=stream, **ANSWERED, **KD)
    make_trainer(train_dataset=stream, teacher=GivenAnswers(CLASSES), classes="position", max_steps=1, **KD).train()
    with pytest.raises(
        ValueError, match=r"`teacher_features` of a batch has the shape \(4, 6\); expected \(batch, 5\)"
    ):
        terms = KD | {"adversarial_weight": 0.1}
        make_trainer(
            train_dataset=stream, teacher=GivenAnswers(CLASSES, 5), classes="position", max_steps=1, **terms
        ).train()
    with pytest.raises(ValueError, match="`num_labels` and `feature_dim` are both None"):
        GivenAnswers()


# Rows


def rows_of(dataset: Any) -> list[int]:
    return [dataset[row]["sample_index"] for row in range(len(dataset))]


def test_every_image_has_its_own_row(make_trainer: MakeTrainer, make_images: MakeImages, logged: Any) -> None:
    """With two images in one row of the bank, each is the other's earlier embedding."""
    transform = ViewTransform(PREPROCESSING)
    prepared = [DistillationDataset(make_images(count), transform, "image", "label") for count in (5, 7)]
    cases = [
        (ConcatDataset(prepared), 12),
        (Subset(prepared[1], [6, 2, 4, 3]), 4),
        (ConcatDataset([prepared[0], Subset(prepared[1], [1, 3])]), 7),
        (TensorRows(9, without=("sample_index",)), 9),
    ]
    for dataset, count in cases:
        trainer = make_trainer(train_dataset=dataset, max_steps=1)
        # Beyond them the last step is filled up.
        assert rows_of(trainer.train_dataset)[:count] == list(range(count))
        assert len(trainer.distillation_objective.crd.bank.student) == count  # type: ignore[union-attr]
        trainer.train()
        assert len(logged(trainer, "loss_crd")) == 1
        views = make_trainer(train_dataset=dataset, views=2)
        assert rows_of(views.train_dataset)[:count] == list(range(count))


def test_rows_that_items_number_otherwise(make_trainer: MakeTrainer) -> None:
    """First and last may be right, and a row between be another's."""
    halves: Any = ConcatDataset([TensorRows(4), TensorRows(4)])
    told = "`sample_index` of row 7 of `train_dataset` is 3; expected 7, .*Leave `sample_index` out of the items"
    with pytest.raises(ValueError, match=told):
        make_trainer(train_dataset=halves)
    twice = With(TensorRows(8), lambda row, item: {"sample_index": 5 if row == 4 else row})
    with pytest.raises(ValueError, match="`sample_index` of row 4 of `train_dataset` is 5; expected 4"):
        make_trainer(train_dataset=twice).train()
    for index in (torch.tensor([3]), "a", 0.0):
        odd = With(TensorRows(8), lambda row, item: {"sample_index": index})  # noqa: B023
        with pytest.raises(ValueError, match="`sample_index` of row 0 of `train_dataset` is"):
            make_trainer(train_dataset=odd)
    # Whoever asks by numbers of their own may go on to.
    trainer = make_trainer(train_dataset=halves, crd_weight=0.0)
    assert rows_of(trainer.train_dataset) == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("index", [12, -1])
def test_rows_of_a_stream(index: int, make_trainer: MakeTrainer) -> None:
    """Its items number themselves: on another device than the CPU a wrong number would end in an assertion there."""
    rows = With(TensorRows(12), lambda row, item: {"sample_index": index if row == 2 else row})
    with pytest.raises(ValueError, match=f"`sample_index` of a batch ranges from .*{index}.*; expected 0 to 11, as"):
        make_trainer(train_dataset=Stream(rows)).train()
    make_trainer(train_dataset=Stream(TensorRows(12)), eval_dataset=TensorRows(20), max_steps=2).train()
