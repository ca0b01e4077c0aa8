"""Teachers with more classes than the data, or some of them; students with new heads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import load_dataset
from PIL import Image
from timm.data import ImageNetInfo
from transformers import AutoModelForImageClassification

from exrep_hf.arguments import DataArguments
from exrep_hf.cli import parse_settings
from exrep_hf.data import Preprocessing
from exrep_hf.models import load_classifier
from exrep_hf.study import Study
from exrep_hf.study.stages import Classifier
from exrep_hf.study.teacher_accuracy import evaluate_teacher
from tests.data.test_class_names import IMAGENETTE

IDS = [*IMAGENETTE][:4]


def folder_of_images(folder: Path, names: list[str], count: int = 6) -> Path:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for place, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8) + np.uint8(40 * place)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def network(folder: Path, **settings: Any) -> str:
    torch.manual_seed(0)
    model: Any = load_classifier("timm/test_resnet", pretrained=False, **settings)
    model.train()
    for _ in range(3):
        model(torch.randn(8, 3, 32, 32))
    model.save_pretrained(folder)
    return str(folder)


def study(tmp_path: Path, images: Path, **settings: Any) -> dict[str, Any]:
    config = tmp_path / "study.yaml"
    given: dict[str, Any] = {
        "dataset": str(images),
        "evaluate_on": "test",
        "output_dir": str(tmp_path / "out"),
        "image_size": 32,
        "controls": {},
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }
    config.write_text(yaml.safe_dump(given | settings))
    return Study(parse_settings(["--config", str(config)], config)).run()


def test_imagenette_of_imagenet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders by WordNet id, a head of 1 000 for the teacher, and for the student until it gets its own."""
    images = folder_of_images(tmp_path / "images", IDS)
    given = {"teacher": network(tmp_path / "teacher"), "student": network(tmp_path / "student")}
    results = study(tmp_path, images, **given, student_new_head=True)
    told = capsys.readouterr().out
    assert "of the teacher's 1000 classes the student's are taken, by name" in told
    assert "the student starts from pre-trained weights" in told
    words = ImageNetInfo("imagenet-1k").label_name_to_description
    classes = results["teacher"]["classes"]
    assert classes == {
        "rule": "names",
        "teacher_classes": 1000,
        "student_classes": 4,
        "shared": 4,
        "left_out": [],
        "renamed": {words(wordnet_id): wordnet_id for wordnet_id in IDS},
    }
    assert json.loads((tmp_path / "out" / "results.json").read_text())["teacher"]["classes"] == classes
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- **Classes of the teacher:** 1000, of which 4 are the student's, matched by name; 4 have other" in card
    assert "`tench, Tinca tinca` is `n01440764`" in card
    published = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert published.config.id2label == dict(enumerate(IDS))
    assert results["student"]["from_scratch"] is False
    # Among four classes, of which one of a thousand would hardly ever be the likeliest.
    teacher = load_classifier(tmp_path / "teacher")
    columns = [ImageNetInfo("imagenet-1k").label_names().index(wordnet_id) for wordnet_id in IDS]
    assert results["teacher"]["accuracy"] == pytest.approx(plain_accuracy(teacher, images, columns))


def plain_accuracy(teacher: Any, images: Path, columns: list[int]) -> float:
    """Of the images of each class in turn; a column of -1 is of a class that the teacher lacks."""
    wanted = Preprocessing.from_model(teacher)
    wanted = Preprocessing(32, 32, 32, wanted.interpolation, wanted.mean, wanted.std)
    right, count = 0, 0
    for label, folder in enumerate(sorted((images / "test").iterdir())):
        for path in folder.iterdir():
            with torch.no_grad():
                logits = teacher(wanted.evaluation(Image.open(path))[None]).logits[0]
            known = [column for column in columns if column >= 0]
            right += columns[label] == known[int(logits[known].argmax())]
            count += 1
    return right / count


def test_a_student_with_other_classes_names_the_flag(tmp_path: Path) -> None:
    images = folder_of_images(tmp_path / "images", ["ant", "bee"])
    teacher = network(tmp_path / "teacher", id2label={0: "bee", 1: "ant"})
    other = network(tmp_path / "other", id2label={0: "x", 1: "y", 2: "z"})
    with pytest.raises(ValueError, match="2 of 2 classes that .* does not know: 'ant', 'bee'.*--student_new_head"):
        study(tmp_path, images, teacher=teacher, student=other)
    with pytest.raises(ValueError, match="2 of 2 classes that the teacher does not know: 'bee', 'ant'"):
        study(tmp_path, images, teacher=other, student=teacher)
    with pytest.raises(ValueError, match="`student_new_head` and `student_from_scratch` are both set"):
        study(tmp_path, images, teacher=teacher, student=other, student_new_head=True, student_from_scratch=True)


def test_a_teacher_that_lacks_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["ant", "bee", "cow", "dog"]
    images = folder_of_images(tmp_path / "images", names, 10)
    teacher = network(tmp_path / "teacher", id2label={0: "dog", 1: "elk", 2: "bee", 3: "ant", 4: "cat"})
    student = network(tmp_path / "student", id2label={0: "x"})
    given = {"teacher": teacher, "student": student, "student_new_head": True}
    with pytest.raises(ValueError, match="1 of 4 classes that the teacher does not know: 'cow'.*`ce_weight=1`"):
        study(tmp_path, images, **given)
    results = study(tmp_path, images, **given, ce_weight=1.0)
    told = capsys.readouterr().out
    assert "the teacher knows 3 of the student's 4 classes, and not 'cow'" in told
    assert "the teacher is right about" in told and "of 30 training images of 3 classes" in told
    classes = results["teacher"]["classes"]
    assert (classes["shared"], classes["left_out"], classes["renamed"]) == (3, ["cow"], {})
    card = (tmp_path / "out" / "README.md").read_text()
    assert "5, of which 3 are the student's, matched by name; 1 of the student's 4 it does not know: `cow`" in card
    expected = plain_accuracy(load_classifier(teacher), images, [3, 2, -1, 0])
    assert results["teacher"]["accuracy"] == pytest.approx(expected) and expected <= 0.75
    run = results["arms"]["exrep"]["runs"][0]
    assert 0 <= run["after"]["teacher_agreement"] <= 1


def test_features_of_a_teacher_of_other_classes(tmp_path: Path) -> None:
    """Its classes are never asked for, and what it would be right about is not known."""
    images = folder_of_images(tmp_path / "images", ["ant", "bee"])
    teacher = network(tmp_path / "teacher", id2label={0: "x", 1: "y", 2: "z"})
    student = network(tmp_path / "student", id2label={0: "ant", 1: "bee"})
    given = {"teacher": teacher, "student": student, "kd_weight": 0.0, "feature_weight": 1.0}
    results = study(tmp_path, images, **given)
    assert results["teacher"]["accuracy"] is None and results["teacher"]["classes"] is None
    run = results["arms"]["exrep"]["runs"][0]
    assert run["gap_recovered"] is None and "teacher_agreement" not in run["after"]
    assert any(entry.get("eval_loss_feature", 0) > 0 for entry in run["history"]), run["history"]


@pytest.mark.parametrize("rule", ["names", "mapping"])
def test_accuracy_by_a_mapping(rule: str, tmp_path: Path) -> None:
    images = folder_of_images(tmp_path / "images", ["ant", "bee", "cow"])
    names = {0: "cow", 1: "x", 2: "bee", 3: "ant"} if rule == "names" else {0: "n0", 1: "n1", 2: "n2", 3: "n3"}
    teacher: Any = load_classifier(network(tmp_path / "teacher", id2label=names))
    wanted = Preprocessing.from_model(teacher)
    wanted = Preprocessing(32, 32, 32, wanted.interpolation, wanted.mean, wanted.std)
    mapping = json.dumps({"n3": "ant", "n2": "bee", "n0": "cow"})
    data_args = DataArguments(str(images), classes="names" if rule == "names" else mapping)
    config = tmp_path / "study.yaml"
    config.write_text(
        yaml.safe_dump({"dataset": "x", "teacher": "x", "student": "x", "output_dir": str(tmp_path), "use_cpu": True})
    )
    args = parse_settings(["--config", str(config)], config).training
    rows = load_dataset("imagefolder", data_dir=str(images), split="test")
    metrics = evaluate_teacher(Classifier(teacher, wanted.to_image_processor()), rows, args, data_args)
    assert metrics is not None and metrics.keys() == {"accuracy", "top5_accuracy"}
    assert metrics["accuracy"] == pytest.approx(plain_accuracy(teacher, images, [3, 2, 0]))
