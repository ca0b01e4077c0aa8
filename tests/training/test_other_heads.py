"""Heads of ImageNet's sets as teachers of a few classes, and networks of timm as students."""

from pathlib import Path
from typing import Any

import datasets
import pytest
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo
from transformers import AutoModelForImageClassification, TimmWrapperConfig, TimmWrapperForImageClassification

from exrep_hf import CachedTeacher, DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.data import Preprocessing, ViewPolicy
from exrep_hf.teacher import TeacherEnsemble
from tests.data.test_class_names import IMAGENETTE
from tests.training.test_partial_classes import kd

PROCESSOR = Preprocessing(32, 32, 32, "bilinear", (0.5,) * 3, (0.25,) * 3).to_image_processor()
LOGITS = {"crd_weight": 0.0, "adversarial_weight": 0.0, "feature_weight": 0.0, "ce_weight": 0.0}
HEADS = {1000: "imagenet-1k", 11821: "imagenet-12k", 21841: "imagenet-22k"}


def images(names: list[str], count: int = 20) -> datasets.Dataset:
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    rows = {
        "image": [Image.new("RGB", (32, 32), (row * 9 % 256, row * 31 % 256, 90)) for row in range(count)],
        "label": [row % len(names) for row in range(count)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def head(count: int) -> OnlineTeacher:
    config = TimmWrapperConfig.from_dict({"architecture": "test_resnet", "num_classes": count, "model_args": {}})
    return OnlineTeacher(TimmWrapperForImageClassification(config), PROCESSOR)


def new_student(count: int = 10) -> ExRepForImageClassification:
    torch.manual_seed(1)
    return ExRepForImageClassification.from_backbone(timm.create_model("test_resnet", num_classes=count))


@pytest.mark.parametrize(("count", "by"), [(1000, "ids"), (11821, "ids"), (21841, "words")])
def test_imagenette(count: int, by: str, make_args: Any, tmp_path: Path) -> None:
    """The term is of the ten columns that the ids name, in the order of the data."""
    names = sorted(IMAGENETTE, reverse=True)
    names = names if by == "ids" else [IMAGENETTE[name] for name in names]
    rows, teacher = images(names), head(count)
    trainer = DistillationTrainer(
        new_student(), teacher, make_args(**LOGITS, max_steps=1), rows, rows, None, PROCESSOR
    )
    assert trainer.student.config.id2label == dict(enumerate(names))
    ids = ImageNetInfo(HEADS[count]).label_names()
    columns = [ids.index(wordnet_id) for wordnet_id in sorted(IMAGENETTE, reverse=True)]
    assert trainer.classes.teacher_columns == tuple(columns)
    batch = trainer._prepare_inputs(next(iter(trainer.get_eval_dataloader())))
    pixels = batch["pixel_values"]
    answer = teacher.model(pixels).logits[:, columns]
    student = trainer.student.eval()(pixels).logits.detach()
    metrics = trainer.evaluate(rows.select(range(4)))
    assert metrics["eval_loss_kd"] == pytest.approx(kd(student, answer, 4.0), rel=1e-3, abs=1e-6)
    trainer.train()
    if by == "ids" and count == 1000:
        trainer.save_model()
        trainer.create_model_card()
        card = (tmp_path / "out" / "README.md").read_text()
        assert "- **Classes of the teacher:** 1000, of which 10 are the student's, matched by name; 10 have" in card
        assert "`parachute, chute` is `n03888257`" in card


def test_stored_answers_and_ensembles_of_heads(make_args: Any, tmp_path: Path) -> None:
    names = list(IMAGENETTE)
    rows = images(names)
    stored = CachedTeacher.write(head(1000), rows, tmp_path / "stored", ViewPolicy(1))
    few = CachedTeacher.write(head(11821), rows, tmp_path / "few", ViewPolicy(1))
    for teacher in (stored, few, TeacherEnsemble([stored, few]), TeacherEnsemble([head(21841), head(1000)])):
        trainer = DistillationTrainer(
            new_student(),
            teacher,
            make_args(**LOGITS, max_steps=1),
            rows,
            augmentation=None,
            processing_class=PROCESSOR,
        )
        assert trainer.classes.num_shared == 10
        trainer.train()
    # Seven of 1 000 are none of the 11 821, and one of those none of the 21 841.
    both = TeacherEnsemble([head(11821), head(1000)])
    assert both.num_labels == 993


def test_imagenet_of_a_larger_head(make_args: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of ImageNet-1k: what the larger set lacks is learnt from labels alone."""
    words = list(ImageNetInfo("imagenet-1k").label_names())
    rows = images(words, 1000)
    given = {"train_dataset": rows, "augmentation": None, "processing_class": PROCESSOR}
    with pytest.raises(ValueError, match="The student has 7 of 1000 classes .*`ce_weight=1`"):
        DistillationTrainer(new_student(1000), head(11821), make_args(**LOGITS), **given)
    args = make_args(**LOGITS | {"ce_weight": 1.0}, max_steps=1)
    trainer = DistillationTrainer(new_student(1000), head(11821), args, **given)
    described = trainer.classes.described()
    assert described is not None and described["shared"] == 993 and len(described["left_out"]) == 7
    trainer.train()
    assert "the teacher knows 993 of the student's 1000 classes" in capsys.readouterr().out
    trainer.create_model_card()
    card = (Path(str(args.output_dir)) / "README.md").read_text()
    assert "7 of the student's 1000 it does not know: `Japanese spaniel`, " in card


def test_a_network_of_timm_as_student_and_teacher(make_args: Any, tmp_path: Path) -> None:
    rows = images(["ant", "bee", "cow"], 12)
    torch.manual_seed(0)
    teacher = timm.create_model("test_efficientnet", num_classes=3)
    module: Any = timm.create_model("test_resnet", num_classes=3)
    args = make_args(**LOGITS, max_steps=2)
    trainer = DistillationTrainer(
        module, OnlineTeacher(teacher, PROCESSOR), args, rows, None, None, PROCESSOR, classes="position"
    )
    assert trainer.student.classifier.timm_model is module
    trainer.train()
    trainer.save_model()
    pixels = torch.randn(2, 3, 32, 32)
    expected = trainer.student.eval()(pixels).logits
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(loaded(pixels).logits, expected)
    again = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    torch.testing.assert_close(again(pixels), expected)


def test_other_classes_of_a_student_name_the_way(make_args: Any) -> None:
    """Errors that named what the user had, and not how to get what they wanted."""
    rows = images(["ant", "bee", "cow"], 12)
    given = {"args": make_args(**LOGITS), "train_dataset": rows, "processing_class": PROCESSOR}
    with pytest.raises(ValueError, match="1 of 3 classes that the student does not know.*…, num_labels=3"):
        DistillationTrainer(timm.create_model("test_resnet"), head(1000), **given)
    with pytest.raises(ValueError, match="The ResNet has no head.*from_backbone.…, num_labels=…"):
        DistillationTrainer(timm.create_model("test_resnet", num_classes=0), head(1000), **given)
    with pytest.raises(ValueError, match="`backbone` is a Linear; expected a name, or an image classifier of trans"):
        DistillationTrainer(torch.nn.Linear(2, 2), head(1000), **given)
