"""Which class is which: data, teacher and student."""

from collections.abc import Callable
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from transformers import ResNetForImageClassification

from exrep_hf import ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import Preprocessing

MakeTrainer = Callable[..., Any]
NAMES = ["ant", "bee", "cat", "dog"]
PROCESSOR = Preprocessing(16, 16, None, "bilinear", (0.5,) * 3, (0.25,) * 3).to_image_processor()
SHADES = {name: 60 * number + 20 for number, name in enumerate(NAMES)}


def shades(names: list[str], count: int) -> datasets.Dataset:
    """Images whose shade is their class's, labelled in the order of `names`."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    labels = [row % len(names) for row in range(count)]
    images = [Image.new("RGB", (20, 20), (SHADES[names[label].lower()],) * 3) for label in labels]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


@pytest.fixture
def named(make_network: Any) -> Callable[..., ResNetForImageClassification]:
    def make(names: list[str], seed: int = 1) -> ResNetForImageClassification:
        model = make_network(seed=seed, num_labels=len(names))
        model.config.id2label = dict(enumerate(names))
        return model

    return make


@pytest.fixture
def teaching(named: Any) -> Callable[..., OnlineTeacher]:
    return lambda names: OnlineTeacher(named(names), PROCESSOR)


class ByShade(OnlineTeacher):
    """Right about every image, by its shade."""

    def __call__(self, batch: Any, *, temperature: float = 1.0) -> Any:
        answer = super().__call__(batch)
        mean = (batch["pixel_values"].mean((1, 2, 3)) * 0.25 + 0.5) * 255
        assert self.id2label is not None
        known = torch.tensor([float(SHADES[self.id2label[number].lower()]) for number in range(len(self.id2label))])
        answer.logits = -(mean[:, None] - known).abs()
        return answer


LOGITS: dict[str, Any] = {"crd_weight": 0.0, "adversarial_weight": 0.0}


def test_batches_have_the_students_numbers(make_trainer: MakeTrainer, named: Any, teaching: Any) -> None:
    """A data set with two of the classes, in another order and spelling, and a teacher with more."""
    images = shades(["DOG", "bee"], 8)
    teacher = ByShade(named(["dog", "cat", "bee", "ant"]), PROCESSOR)
    trainer = make_trainer(model=named(NAMES, 3), teacher=teacher, train_dataset=images, eval_dataset=images)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert sorted(batch["labels"].tolist()) == [1, 1, 3, 3]
    answer = trainer.ask_teacher(batch, training=True)
    assert torch.equal(answer.logits.argmax(-1), batch["labels"]) and answer.logits.shape == (4, 4)
    batch = trainer._prepare_inputs(next(iter(trainer.get_eval_dataloader())))
    assert batch["labels"].tolist() == [3, 1, 3, 1]
    # What was given at the start is the same as what is handed over now.
    assert trainer.evaluate()["eval_accuracy"] == trainer.evaluate(images)["eval_accuracy"]
    # CRD draws its negatives by them.
    assert trainer.train_dataset.dataset.labels == [3, 1] * 4


def test_a_test_folder_without_a_class(make_trainer: MakeTrainer, named: Any, teaching: Any) -> None:
    """Loaded on its own it numbers its classes from 0: accuracy is that of the images, whatever their numbers."""
    student = ExRepForImageClassification.from_backbone(named(NAMES, 3))
    trainer = make_trainer(
        model=student, teacher=None, train_dataset=shades(NAMES, 8), **LOGITS, kd_weight=0.0, max_steps=60,
        learning_rate=0.02, freeze_batch_norm=False, per_device_train_batch_size=8, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer.train()
    assert trainer.evaluate(shades(NAMES, 8))["eval_accuracy"] == 1
    assert trainer.evaluate(shades(["bee", "cat", "dog"], 6))["eval_accuracy"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_dataset": ["ant", "bee", "cow"]}, "`train_dataset` has 1 of 3 classes .* the student .* know: 'cow'"),
        ({"eval_dataset": ["zebra"]}, "`eval_dataset` has 1 of 1 classes that the student does not know: 'zebra'"),
        ({"teacher": ["ant", "elk", "eft", "emu"]}, "3 of 4 classes that the teacher does not know: 'bee', 'cat'"),
        ({"teacher": ["n01", "n02", "n03", "n04"]}, "4 of 4 classes that the teacher does not know"),
        ({"teacher": None}, "The teacher has 4 classes without names"),
    ],
)  # fmt: skip
def test_classes_that_nothing_matches(
    make_trainer: MakeTrainer, named: Any, teaching: Any, changes: Any, message: str
) -> None:
    """Each of these trained on, towards nonsense, with exit code 0."""
    SHADES.update(cow=5, zebra=6)
    nameless = [f"LABEL_{number}" for number in range(4)]
    teacher = teaching(changes.get("teacher", NAMES) or nameless)
    data = {name: shades(names, 8) for name, names in changes.items() if name != "teacher"}
    with pytest.raises(ValueError, match=message) as error:
        make_trainer(model=named(NAMES, 3), teacher=teacher, **{"train_dataset": shades(NAMES, 8)} | data)
    # A head of its own for these classes is a way out where the teacher alone has others.
    assert ("`teacher_head='probe'`" in str(error.value)) == ("teacher" in changes)


def test_other_classes_of_a_teacher_of_features(
    make_trainer: MakeTrainer, named: Any, teaching: Any, capsys: Any
) -> None:
    """Where logits are not compared the teacher's classes may be any; agreement has no meaning then."""
    given = {"model": named(NAMES, 3), "teacher": teaching(["n01", "n02", "n03"]), "kd_weight": 0.0, "max_steps": 1}
    trainer = make_trainer(**given, train_dataset=shades(NAMES, 8), eval_dataset=shades(NAMES, 8))
    trainer.train()
    assert "agreement with the teacher isn't known" in capsys.readouterr().out
    assert "eval_teacher_agreement" not in trainer.evaluate()


def test_names_of_a_nameless_student(
    make_trainer: MakeTrainer, named: Any, teaching: Any, make_network: Any, tmp_path: Any
) -> None:
    """One that has learnt nothing gets the data's; one with weights may have learnt any order."""
    nameless = ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]
    trainer = make_trainer(model=named(nameless, 3), teacher=teaching(NAMES), train_dataset=shades(NAMES, 8))
    assert trainer.student.config.id2label == dict(enumerate(NAMES))
    named(nameless, 3).save_pretrained(tmp_path)
    learnt = ResNetForImageClassification.from_pretrained(tmp_path)
    given = {"model": learnt, "teacher": teaching(NAMES), "train_dataset": shades(NAMES, 8)}
    with pytest.raises(ValueError, match="The student has 4 classes without names"):
        make_trainer(**given)
    assert make_trainer(**given, classes="position").student.config.label2id["dog"] == 3


def test_a_mapping_for_the_trainer(make_trainer: MakeTrainer, named: Any, teaching: Any) -> None:
    mapping = {f"n{number}": name for number, name in enumerate(NAMES)}
    given = {
        "model": named(NAMES, 3),
        "teacher": teaching(["n3", "n2", "n1", "n0"]),
        "train_dataset": shades(NAMES, 8),
    }
    assert make_trainer(**given, classes=mapping).classes.teacher_columns == (3, 2, 1, 0)


def test_labels_that_can_not_be_renumbered(make_trainer: MakeTrainer, named: Any, teaching: Any) -> None:
    """Items of a transform, or of torch, hold labels as they are: in another order they are refused."""
    images, reordered = shades(NAMES, 8), shades(["dog", "cat", "bee", "ant"], 8)
    transform = lambda rows: {"pixel_values": [torch.zeros(3, 16, 16)] * len(rows["image"]), "label": rows["label"]}  # noqa: E731
    given = {"model": named(NAMES, 3), "teacher": teaching(NAMES), "crd_weight": 0.0}
    make_trainer(**given, train_dataset=images.with_transform(transform))
    with pytest.raises(ValueError, match="'dog' has number 0 in `train_dataset` and number 3 in the student"):
        make_trainer(**given, train_dataset=reordered.with_transform(transform))

    class Folder(torch.utils.data.Dataset):
        classes = ["bee", "cat"]

        def __len__(self) -> int:
            return 8

        def __getitem__(self, row: int) -> dict[str, Any]:
            return {"pixel_values": torch.zeros(3, 16, 16), "labels": row % 2}

    with pytest.raises(ValueError, match="'bee' has number 0 in `train_dataset` and number 1 in the student"):
        make_trainer(**given, train_dataset=Folder())


def test_a_resumed_run_has_the_same_classes(
    make_trainer: MakeTrainer, named: Any, teaching: Any, tmp_path: Any
) -> None:
    """The same teacher with its classes read otherwise is another teacher."""
    teacher, given = teaching(["n0", "n1", "n2", "n3"]), {"train_dataset": shades(NAMES, 8), "max_steps": 2} | LOGITS
    make_trainer(
        model=named(NAMES, 3), teacher=teacher, classes="position", save_strategy="steps", save_steps=2, **given
    ).train()
    swapped = {"n0": "bee", "n1": "ant", "n2": "cat", "n3": "dog"}
    other = make_trainer(model=named(NAMES, 3), teacher=teacher, classes=swapped, **given)
    with pytest.raises(ValueError, match="teacher classes: None in the checkpoint"):
        other.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))


def test_parts_that_number_their_classes_differently(make_trainer: MakeTrainer, named: Any, teaching: Any) -> None:
    """Put together, half of the labels would be wrong."""
    transform = lambda rows: {"pixel_values": [torch.zeros(3, 16, 16)] * len(rows["image"]), "label": rows["label"]}  # noqa: E731
    parts = [shades(names, 8).with_transform(transform) for names in (NAMES, [*reversed(NAMES)], NAMES)]
    given = {"model": named(NAMES, 3), "teacher": teaching(NAMES), "crd_weight": 0.0}
    make_trainer(**given, train_dataset=torch.utils.data.ConcatDataset([parts[0], parts[2]]))
    with pytest.raises(ValueError, match="The parts of a data set have the classes .* expected the same names"):
        make_trainer(**given, train_dataset=torch.utils.data.ConcatDataset(parts))
