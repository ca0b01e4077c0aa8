"""Students of a teacher whose classifier is what the classes are called."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from exrep_hf import DistillationTrainer, OnlineTeacher
from exrep_hf.teacher import TextTeacher
from exrep_hf.teacher.head_file import HEAD_NAME
from tests.processes import Processes, finish
from tests.text_towers import NAMES, save_towers, zero_shot_logits
from tests.training.conftest import image_rows
from tests.training.text_run import trainer_of


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_towers("CLIP", tmp_path_factory.mktemp("towers"))


def teacher_of(trainer: DistillationTrainer) -> TextTeacher:
    assert isinstance(trainer.teacher, TextTeacher) and trainer.headed is trainer.teacher
    return trainer.teacher


def test_images_without_labels_and_names_make_a_student(towers: str, tmp_path: Path) -> None:
    """The term compares the student with the model's own zero-shot logits; the student is named by them."""
    trainer = trainer_of(tmp_path / "out", towers)
    batch = trainer.batch_of([trainer.train_dataset[row] for row in range(6)])  # type: ignore[index]
    assert "labels" not in batch
    found = trainer.ask_teacher(batch, training=True).logits
    expected = zero_shot_logits(towers, [f"a photo of a {name}." for name in NAMES], batch["teacher_pixel_values"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    before = [value.clone() for value in trainer.student.parameters()]
    trainer.train()
    assert any(not torch.equal(*pair) for pair in zip(before, trainer.student.parameters(), strict=True))
    assert trainer.student.config.id2label == dict(enumerate(NAMES))
    assert "eval_teacher_agreement" in trainer.evaluate()
    trainer.save_model()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"]["2"] == "bird"
    trainer.create_model_card()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "about 3 classes (`cat`, `dog`, `bird`), with the prompt `a photo of a {}.`; nothing was fitted" in card
    assert (tmp_path / "out" / HEAD_NAME).is_file()


def test_resuming_takes_the_head_of_the_checkpoint(towers: str, tmp_path: Path) -> None:
    whole = trainer_of(tmp_path / "out", towers)
    whole.train()
    checkpoint = tmp_path / "out" / "checkpoint-1"
    facts = json.loads((checkpoint / "checkpoint_manifest.json").read_text())
    assert HEAD_NAME in facts["files"] and facts["run"]["teacher_head"].startswith("text ")
    resumed = trainer_of(tmp_path / "out", towers)
    # As on another machine, whose text tower rounds otherwise.
    teacher_of(resumed).head.weights.weight.mul_(1.1)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    for mine, theirs in zip(teacher_of(resumed)._tensors(), teacher_of(whole)._tensors(), strict=True):
        assert torch.equal(mine, theirs)
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, resumed.student.state_dict()[name]), name
    with pytest.raises(ValueError, match="teacher head: text .* in the checkpoint, text .* now"):
        trainer_of(tmp_path / "out", towers, ["this is a {}."]).train(resume_from_checkpoint=str(checkpoint))


ALONE: dict[str, Any] = {"ce_weight": 0.0, "crd_weight": 0.0, "adversarial_weight": 0.0, "mixup": 1.0, "cutmix": 1.0}


def named_images(names: list[str], count: int = 12) -> datasets.Dataset:
    features = image_rows(1).features | {"label": datasets.ClassLabel(names=names)}
    return image_rows(count).cast(datasets.Features(features))


def test_whose_names(make_trainer: Any, make_student: Any, towers: str) -> None:
    """The data's, if they are as many as the student's; else all of the student's; else what the user gives."""
    names = ["small cat", "cat", "dog", "bird"]
    given: dict[str, Any] = {"teacher": towers, "teacher_head": "text", **ALONE}

    def trained(student_names: list[str] | None, data_names: list[str] | None, **more: Any) -> TextTeacher:
        student = make_student()
        if student_names is not None:
            student.config.id2label = dict(enumerate(student_names))
        images = image_rows(12).remove_columns("label") if data_names is None else named_images(data_names)
        return teacher_of(make_trainer(model=student, train_dataset=images, **given | more))

    assert trained([name.upper() for name in names], names).head.words == tuple(names)
    assert trained(names, None).head.words == tuple(names)
    assert trained(["bird", "dog", "cat", "small_cat"], ["cat", "dog", "bird", "Small_Cat"]).head.words == (
        "cat",
        "dog",
        "bird",
        "Small Cat",
    )
    own = ["picture", "photo", "small", "this"]
    assert trained(names, names, class_names=own, classes="position").head.words == tuple(own)
    mapped = trained(names, names, class_names=own, classes=dict(zip(own, names, strict=True)))
    assert mapped.head.words == tuple(own)


def test_what_can_not_be_had(make_trainer: Any, make_student: Any, teacher: OnlineTeacher, towers: str) -> None:
    images = image_rows(12).remove_columns("label")
    given: dict[str, Any] = {"teacher": towers, "teacher_head": "text", "train_dataset": images, **ALONE}
    nameless = make_student()
    nameless.config.id2label = {number: f"LABEL_{number}" for number in range(4)}
    for change, message in (
        ({"model": nameless}, "neither the images nor the student name their classes.*`class_names`"),
        ({"class_names": NAMES}, "4 classes .*teacher does not know|does not know"),
        ({"teacher_head": None, "prompts": ["a {}"], "teacher": teacher}, "`prompts` is .*head is 'own'.*takes none"),
        ({"teacher_head": None, "class_names": NAMES, "teacher": teacher}, "`class_names` is .*head is 'own'"),
        ({"prompts": ["a photo"]}, "`prompts` holds 'a photo'; expected a text with one `{}`"),
        ({"teacher": teacher}, "not one network that was loaded from a name or folder.*'probe'"),
        ({"teacher_head": "texts"}, r"expected one of \('own', 'probe', 'text', 'none'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(**given | change)


@pytest.mark.slow
def test_two_processes_hold_one_head_and_resume_to_the_bit(processes: Processes, tmp_path: Path) -> None:
    for count in (1, 2):
        save_towers("CLIP", tmp_path / str(count) / "towers")
        finish(processes.start("tests.training.text_run", count, str(tmp_path / str(count))))
    files = (tmp_path / "1" / "found-0.pt", tmp_path / "2" / "found-0.pt", tmp_path / "2" / "found-1.pt")
    alone, first, second = (torch.load(path) for path in files)
    for whole, resumed in (alone, first, second):
        assert all(torch.equal(*pair) for pair in zip(whole[0], resumed[0], strict=True))
        assert all(torch.equal(value, resumed[1][name]) for name, value in whole[1].items())
    for one, other in ((alone, first), (first, second)):
        assert all(torch.equal(*pair) for pair in zip(one[0][0], other[0][0], strict=True))
