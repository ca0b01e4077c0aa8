"""A published student on data sets, and its figures on their way into its card."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import EvalResult, HfApi, ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification

from exrep_hf.arguments import EvaluationArguments
from exrep_hf.data import load_images
from exrep_hf.publishing.evaluate_student import evaluate_student, labelled_images, load_published, push_figures
from exrep_hf.publishing.student import push_student
from exrep_hf.publishing.student_folder import describe_published
from tests.hub_server import Hub

ROOT = Path(__file__).parents[2]
Finished = tuple[Path, dict[str, Any]]


def test_evaluated(published: Finished, hub: Hub) -> None:
    """The figures go into the card on the Hub, beside those of others."""
    folder, results = published
    push_student(folder, "me/evaluated")
    card = ModelCard.load("me/evaluated")
    kind = "image-classification"
    card.data.eval_results.append(EvalResult(kind, "you/images", "Yours", "accuracy", 0.5))
    card.push_to_hub("me/evaluated")
    teacher = str(folder / "teacher")
    args = EvaluationArguments("me/evaluated", "digits", "test", teacher=teacher, use_cpu=True, push_to_hub=True)
    report = evaluate_student(args)
    push_figures(args, report)
    again = evaluate_student(args)
    push_figures(args, again)
    assert report["num_images"] == 450 and report["images_per_second"] > 0
    assert 0 <= report["teacher_agreement"] <= 1
    data: Any = ModelCard.load("me/evaluated").data
    claimed = {
        (each.dataset_type, each.dataset_split, each.metric_type): each.metric_value for each in data.eval_results
    }
    assert claimed["digits", "test", "accuracy"] == report["accuracy"]
    assert claimed["digits", "part of test", "accuracy"] == results["published"]["accuracy"]
    assert claimed["you/images", None, "accuracy"] == 0.5
    assert len(claimed) == len(data.eval_results) == 7
    itself = evaluate_student(
        EvaluationArguments(str(folder), "digits", teacher=str(folder), max_samples=40, use_cpu=True)
    )
    assert itself["teacher_agreement"] == 1.0 and itself["num_images"] == 40
    assert itself["accuracy"] == results["published"]["accuracy"]


def test_images_that_a_student_was_trained_on(published: Finished, caplog: pytest.LogCaptureFixture) -> None:
    """Of a folder without a test split all can be evaluated on, and nothing said that nine in ten were learnt."""
    folder = str(published[0])
    for split in ("test", "train"):
        evaluate_student(EvaluationArguments(folder, "digits", split, max_samples=40, use_cpu=True))
        told = [each.getMessage() for each in caplog.records if "was trained on images of the split" in each.message]
        assert len(told) == (split == "train")
    assert told[0].startswith(
        f"{folder!r} was trained on images of the split 'train' of 'digits', by its results.json"
    )


def test_folders_are_taken_literally(tmp_path: Path) -> None:
    """Class names with the words of splits change neither the images nor their classes; a class may be missing."""
    names = ("bullet train", "bus", "test tube")
    for split, kept, level in (("train", names, 0), ("test", names[::2], 100)):
        for name in kept:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (4, 4), level + names.index(name)).save(tmp_path / split / name / "train 0.png")
    model = ResNetForImageClassification(
        ResNetConfig(depths=[1], hidden_sizes=[8], id2label=dict(enumerate(names[::-1])))
    )
    for folder, split in ((tmp_path, "test"), (tmp_path / "test", "train")):
        images, columns = labelled_images(EvaluationArguments("", str(folder), split), model)
        assert columns == ("image", "label")
        assert [image.getpixel((0, 0)) for image in images["image"]] == [100, 102]
        assert images["label"][:] == [2, 0], "numbered as the model does"


def test_a_model_that_changes_while_it_is_evaluated(published: Finished, hub: Hub) -> None:
    """Figures of earlier weights are not put beside later ones."""
    push_student(published[0], "me/changing")
    args = EvaluationArguments("me/changing", "digits", "train", use_cpu=True, push_to_hub=True)
    figures = evaluate_student(args)
    HfApi().upload_file(path_or_fileobj=b"later", path_in_repo="model.safetensors", repo_id="me/changing")
    with pytest.raises(
        OSError, match=r"(?s)'me/changing' failed: .* is at .*python recipes/evaluate_student.py --model me/ch"
    ):
        push_figures(args, figures)


def test_a_data_set_with_some_of_the_classes_in_another_order(published: Finished, tmp_path: Path) -> None:
    """Classes are matched by name: numbers of another data set mean other classes."""
    folder, _ = published
    digits = load_images("digits")["test"]
    for name in ("7", "3", "30"):
        (tmp_path / "test" / name).mkdir(parents=True)
    rows = [row for row in range(len(digits)) if digits[row]["label"] in (3, 7)][:30]
    for row in rows:
        digits[row]["image"].save(tmp_path / "test" / str(digits[row]["label"]) / f"{row}.png")
    (tmp_path / "test" / "30").rmdir()
    report = evaluate_student(EvaluationArguments(str(folder), str(tmp_path), use_cpu=True))
    assert set(report["per_class"]) == {"3", "7"} and report["num_images"] == 30
    expected = evaluate_student(EvaluationArguments(str(folder), "digits", use_cpu=True))
    assert report["accuracy"] <= 1 and expected["num_images"] == 450
    (tmp_path / "test" / "7").rename(tmp_path / "test" / "seven")
    with pytest.raises(ValueError, match=r"1 of 2 classes that the student does not know: 'seven'"):
        evaluate_student(EvaluationArguments(str(folder), str(tmp_path), use_cpu=True))


def test_bad_input_to_evaluate(published: Finished, hub: Hub) -> None:
    folder, _ = published
    HfApi().create_repo("me/exists", exist_ok=True)
    for args, message in (
        (
            EvaluationArguments("me/exists", "digits", max_samples=9, push_to_hub=True),
            "`max_samples` 9 and `revis",
        ),
        (EvaluationArguments("me/exists", "digits", push_to_hub=True), "'me/exists' has no card to put figures into"),
        (
            EvaluationArguments("me/exists", "me/images", data_dir="hard", push_to_hub=True),
            "with the columns .* and `data_dir` 'hard'; expected neither",
        ),
        (EvaluationArguments("me/tpyo", "digits", push_to_hub=True), "There is no such repository that the token may"),
        (
            EvaluationArguments("me/none", "digits"),
            "'me/none' is no folder here, and as a model on the Hub it is not available",
        ),
        (EvaluationArguments(str(folder), "digits", "exam"), r"`split` is 'exam'; 'digits' has the splits \['train'"),
        (
            EvaluationArguments(str(folder), "digits", push_to_hub=True),
            "`model` is the folder .*; expected a Hub name",
        ),
    ):
        args.use_cpu = True
        with pytest.raises(ValueError, match=message):
            evaluate_student(args)


def test_labels_that_are_no_classes(published: Finished, tmp_path: Path) -> None:
    """An unlabelled image is not one of the last class."""
    folder, _ = published
    images = load_images("digits")["test"].select(range(4))
    unlabelled = images.remove_columns("label").add_column("label", [0, -1, 2, 3])
    unlabelled.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="The label in row 1, column 'label', is -1"):
        evaluate_student(EvaluationArguments(str(folder), str(tmp_path), "train", use_cpu=True))


STUDENT = ("config.json", "model.safetensors", "preprocessor_config.json")


@pytest.fixture
def student(published: Finished, tmp_path: Path) -> Path:
    """A copy of what is published, to be damaged."""
    folder = tmp_path / "student"
    folder.mkdir()
    for name in STUDENT:
        shutil.copy(published[0] / name, folder)
    return folder


def without_head(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith(("classifier", "fc", "head"))}


def without_statistics(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if "running" not in name}


@pytest.mark.parametrize("edit", [without_head, without_statistics, lambda w: w | {"aux.weight": torch.zeros(1)}])
def test_no_figures_of_weights_that_are_not_the_students(edit: Callable[..., Any], student: Path) -> None:
    """A head that is drawn at random has other figures at each call, and a card would hold one of them."""
    weights = load_file(student / "model.safetensors")
    changed = edit(weights)
    assert changed.keys() != weights.keys()
    save_file(changed, student / "model.safetensors", metadata={"format": "pt"})
    message = "has (no weights for .*|weights that the model doesn't have: .*aux.weight); expected exactly the weights"
    with pytest.raises(ValueError, match=message):
        evaluate_student(EvaluationArguments(str(student), "digits", use_cpu=True, max_samples=20))
    with pytest.raises(ValueError, match=message):
        describe_published(student, load_images("digits")["test"].select(range(4)), "names", torch.device("cpu"))


def test_half_precision_is_evaluated_as_its_values_say(student: Path) -> None:
    """Images are float32, which weights in half precision would refuse."""
    weights = load_file(student / "model.safetensors")
    halved = {name: value.bfloat16() if value.is_floating_point() else value for name, value in weights.items()}
    save_file(halved, student / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_published(student, torch.device("cpu"))
    assert model.dtype == torch.float32
    assert (
        evaluate_student(EvaluationArguments(str(student), "digits", use_cpu=True, max_samples=20))["num_images"] == 20
    )


def test_a_processor_that_asks_for_all_memory(student: Path) -> None:
    """Each image would be resized to 120 GB."""
    path = student / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"crop_size": {"height": 200_000, "width": 200_000}}))
    with pytest.raises(
        ValueError, match="preprocessor_config.json of .* has `height` 200000; expected at most 8192 pix"
    ):
        evaluate_student(EvaluationArguments(str(student), "digits", use_cpu=True))
    path.write_text("{")
    with pytest.raises(ValueError, match="preprocessor_config.json of .* is no JSON"):
        load_published(student, torch.device("cpu"))


def test_a_classifier_that_does_not_say_how_it_wants_its_images(tmp_path: Path) -> None:
    """Its figures would depend on what is guessed."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not say how the classifier in it wants its images .*preprocessor_conf"):
        load_published(tmp_path, torch.device("cpu"))


def test_a_revision_of_a_folder(student: Path) -> None:
    """Its figures would be taken for those of the revision."""
    with pytest.raises(ValueError, match="The revision 'v1' was asked for, and '.*student' is a folder.*Leave it out"):
        evaluate_student(EvaluationArguments(str(student), "digits", revision="v1", use_cpu=True))
