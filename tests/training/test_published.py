"""What a trainer writes and pushes for others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from huggingface_hub import HfApi, ModelCard, snapshot_download
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageClassification

from exrep_hf import DistillationTrainer, ExRepForImageClassification, OnlineTeacher
from exrep_hf.models import load_classifier
from tests.hub_server import Hub
from tests.training.conftest import PREPROCESSING, TensorRows

MakeTrainer = Callable[..., DistillationTrainer]
KD: dict[str, Any] = {"crd_weight": 0.0, "adversarial_weight": 0.0, "max_steps": 2}

# Run where there is no exrep_hf: it lies on the path of this environment.
ELSEWHERE = """
import sys
sys.modules["exrep_hf"] = None
import timm, torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, pipeline

name, folder, images, answers = sys.argv[1:]
images = load_file(images)["images"]
with torch.no_grad():
    found = {"transformers": AutoModelForImageClassification.from_pretrained(name).eval()(images).logits}
    if folder:
        found["timm"] = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(images)
save_file(found, answers)
assert {each["label"] for each in pipeline("image-classification", model=name)(Image.new("RGB", (20, 20)))}
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[..., dict[str, Tensor]]:
    """Answers of a published model in a process that has transformers and timm alone."""

    def ask(name: str, folder: str, images: Tensor) -> dict[str, Tensor]:
        save_file({"images": images}, tmp_path / "images.safetensors")
        files = [str(tmp_path / each) for each in ("images.safetensors", "answers.safetensors")]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [sys.executable, "-c", ELSEWHERE, name, folder, *files]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return load_file(files[1])

    return ask


@pytest.fixture
def timm_student() -> ExRepForImageClassification:
    torch.manual_seed(0)
    names = {label: f"class {label}" for label in range(4)}
    return ExRepForImageClassification.from_backbone(
        load_classifier("timm/test_efficientnet", id2label=names, pretrained=False)
    )


def test_a_plain_student_needs_nothing_of_ours(
    make_trainer: MakeTrainer,
    timm_student: ExRepForImageClassification,
    elsewhere: Callable[..., dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    """Whoever is given the folder has transformers or timm."""
    trainer = make_trainer(model=timm_student, classes="position", **KD)
    trainer.train()
    trainer.save_model(str(tmp_path / "plain"))
    assert {path.name for path in (tmp_path / "plain").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    images = TensorRows(5).images
    with torch.no_grad():
        expected = trainer.student.eval()(images).logits
    found = elsewhere(str(tmp_path / "plain"), str(tmp_path / "plain"), images)
    for answers in found.values():
        torch.testing.assert_close(answers, expected)
    config = AutoConfig.from_pretrained(tmp_path / "plain")
    assert config.model_type == "timm_wrapper" and config.id2label[2] == "class 2"
    # What is trained further stays what it is.
    trainer.train()


@pytest.mark.parametrize(("share", "plain"), [(0.5, True), (1.0, False)])
def test_a_distiller_goes_where_training_makes_it_removable(
    share: float, plain: bool, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """As `recipes/train.py` has it; checkpoints go on from the student as it is trained."""
    trainer = make_trainer(distiller_share=share, save_strategy="steps", save_steps=1, **KD)
    trainer.train()
    trainer.save_model()
    images = TensorRows(5).images
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert isinstance(saved, ExRepForImageClassification) is not plain
    published = trainer.student.without_distiller() if plain else trainer.student
    # Read from a file it has the usual memory layout, in which sums are rounded otherwise.
    torch.nn.Module.to(published, memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert torch.equal(saved(images).logits, published.eval()(images).logits)
    for checkpoint in ("checkpoint-1", "checkpoint-2"):
        assert AutoConfig.from_pretrained(tmp_path / "out" / checkpoint).model_type == "exrep"
    resumed = make_trainer(distiller_share=share, save_strategy="no", **KD)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))
    for name, value in resumed.student.state_dict().items():
        assert torch.equal(value, trainer.student.state_dict()[name]), name


def card_of(name: str) -> ModelCard:
    return ModelCard.load(Path(snapshot_download(name, allow_patterns="README.md")) / "README.md")


def named_images(images: datasets.Dataset) -> datasets.Dataset:
    images.info.dataset_name, images.info.builder_name = "beetles", "parquet"
    images._split = datasets.Split.TEST
    return images


@pytest.mark.parametrize("private", [True, False, None])
def test_pushed_to_a_new_repository(make_trainer: MakeTrainer, hub: Hub, private: bool | None) -> None:
    """It is private where one asks for it, by the call or by the settings, under any version of the Trainer."""
    name = f"me/new-{private}"
    trainer = make_trainer(**KD, hub_model_id=name, hub_token="hf_me", hub_private_repo=private is None)
    trainer.push_to_hub(private=private)
    assert HfApi().model_info(name, token="hf_me").private is (private is not False)


def test_pushed_with_a_card_that_is_true(
    make_trainer: MakeTrainer,
    make_images: Any,
    make_network: Any,
    timm_student: ExRepForImageClassification,
    elsewhere: Callable[..., dict[str, Tensor]],
    hub: Hub,
    tmp_path: Path,
) -> None:
    """The Trainer's own card says "fine-tuned version of [](…) on an unknown dataset"."""
    make_network(seed=1).save_pretrained(tmp_path / "big")
    processor = {"push_to_hub": False, "hub_model_id": "me/pushed", "hub_token": "hf_me"}
    images = named_images(make_images(8))
    teacher = load_classifier(str(tmp_path / "big"))
    trainer = make_trainer(
        model=timm_student,
        teacher=OnlineTeacher(teacher, PREPROCESSING.to_image_processor()),
        train_dataset=images,
        eval_dataset=images,
        classes="position",
        **KD,
        **processor,
    )
    trainer.train()
    metrics = trainer.evaluate()
    (tmp_path / "out" / "training_args.bin").write_text("hf_me")
    (tmp_path / "out" / "model_notes").mkdir()
    (tmp_path / "out" / "model_notes" / "x.safetensors").write_text("the user's")
    trainer.push_to_hub(license="mit", dataset_tags="me/beetles")
    assert sorted(HfApi().list_repo_files("me/pushed")) == [
        *(".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessor_config.json")
    ]
    card = card_of("me/pushed")
    told = card.data.to_dict()
    assert (told["license"], told["datasets"], told["pipeline_tag"]) == ("mit", ["me/beetles"], "image-classification")
    assert told["library_name"] == "transformers" and "base_model" not in told and "exrep" in told["tags"]
    data: Any = card.data
    (result,) = data.eval_results
    assert (result.dataset_type, result.dataset_name, result.dataset_split) == ("me/beetles", "beetles", "test")
    assert (result.metric_type, result.metric_value) == ("accuracy", pytest.approx(metrics["eval_accuracy"]))
    text = card.text
    # Of four classes the right one is always among five.
    assert "| data set | images | Top-1 accuracy |\n|---|---:|---:|\n| beetles, test | 8 |" in text
    for part in (
        *(
            "distilled from a local model called “big”",
            "`test_efficientnet` (the architecture",
            "beetles, split test, 8 images",
        ),
        *("temperature 4: weight 1", "2 steps of 4 images; learning rate 0.01", 'model="me/pushed"', "**Classes:** 4"),
    ):
        assert part in text, part
    assert str(tmp_path) not in card.content and "hf_me" not in card.content and "import exrep_hf" not in text
    rows = TensorRows(3).images
    with torch.no_grad():
        expected = trainer.student.eval()(rows).logits
    torch.testing.assert_close(elsewhere("me/pushed", "", rows)["transformers"], expected)


def test_pushes_while_training(make_trainer: MakeTrainer, hub: Hub, parameters: Any, tmp_path: Path) -> None:
    """The repository holds what others load, the checkpoint what is resumed; and no draw of the training moves."""
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "distiller_share": 0.5}
    pushing: dict[str, Any] = {"push_to_hub": True, "hub_model_id": "me/training", "hub_always_push": True}
    quiet = make_trainer(**KD, **saving)
    quiet.train()
    trainer = make_trainer(**KD, **saving, **pushing, hub_strategy="checkpoint", output_dir=str(tmp_path / "pushing"))
    trainer.train()
    trainer._finish_current_push()
    for name, value in parameters(quiet).items():
        assert torch.equal(value, parameters(trainer)[name]), name
    folder = Path(snapshot_download("me/training"))
    assert json.loads((folder / "config.json").read_text())["model_type"] == "resnet"
    assert json.loads((folder / "last-checkpoint" / "config.json").read_text())["model_type"] == "exrep"
    assert not list(folder.rglob("training_args.bin"))
    images = TensorRows(5).images
    plain = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        assert torch.equal(plain(images).logits, trainer.student.without_distiller().eval()(images).logits)
    assert "taken away" in (folder / "README.md").read_text()
    resumed = make_trainer(**KD | {"max_steps": 3}, distiller_share=0.5)
    resumed.train(resume_from_checkpoint=str(folder / "last-checkpoint"))
    assert resumed.state.global_step == 3


def figures(trainer: DistillationTrainer, **how: Any) -> dict[tuple[str, str], float]:
    trainer.create_model_card(**how)
    results = ModelCard.load(Path(str(trainer.args.output_dir)) / "README.md").data.eval_results or []
    return {(each.dataset_name, each.metric_type): each.metric_value for each in results}


def test_figures_are_of_these_weights(make_trainer: MakeTrainer, make_images: Any) -> None:
    """A card that claims what other weights did, or another data set showed, is worse than none."""
    rows, images = TensorRows(6), named_images(make_images(4))
    trainer = make_trainer(eval_dataset={"a": rows, "b": images}, **KD)
    assert figures(trainer) == {}
    trainer.train()
    assert figures(trainer) == {}
    metrics = trainer.evaluate()
    told = figures(trainer)
    assert told[("beetles", "accuracy")] == pytest.approx(metrics["eval_b_accuracy"])
    assert told[("unknown", "accuracy")] == pytest.approx(metrics["eval_a_accuracy"])
    trainer.train()
    trainer.state.global_step += 1
    assert figures(trainer) == {}
    removable = make_trainer(eval_dataset=rows, distiller_share=0.5, **KD)
    removable.evaluate()
    assert figures(removable) == {}
    assert "were of the student with its Input Distiller" in card_text(removable)
    as_trained = make_trainer(eval_dataset=rows, **KD)
    as_trained.evaluate()
    assert len(figures(as_trained)) == 1 and "import exrep_hf" in card_text(as_trained)


def card_text(trainer: DistillationTrainer) -> str:
    return (Path(str(trainer.args.output_dir)) / "README.md").read_text()


def test_best_weights_have_their_own_figures(make_trainer: MakeTrainer) -> None:
    """After `load_best_model_at_end` the last evaluation is of weights that are gone."""
    best: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best |= {"load_best_model_at_end": True, "metric_for_best_model": "loss_kd", "greater_is_better": True}
    trainer = make_trainer(eval_dataset=TensorRows(6), learning_rate=0.05, **best, **KD | {"max_steps": 3})
    trainer.train()
    step = trainer.state.best_global_step
    assert step in (1, 2)
    logged = {entry["step"]: entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry}
    assert figures(trainer)[("unknown", "accuracy")] == pytest.approx(logged[step])
    assert f"{step} steps of 4 images" in card_text(trainer)


def test_a_card_of_the_users_is_kept(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Hours of writing are not to be lost to a push."""
    trainer = make_trainer(**KD)
    path = tmp_path / "out" / "README.md"
    trainer.create_model_card(tags=["mine"], model_name="me/first", dataset="beetles", finetuned_from="me/start")
    card = ModelCard.load(path)
    assert card.data.base_model is None, "it starts from nothing"
    assert "mine" in card.data.tags and "# first" in card.text and "**Trained on:** beetles, 12 images" in card.text
    trainer.create_model_card()
    assert "# out" in path.read_text()
    path.write_text("my own words")
    trainer.create_model_card()
    assert path.read_text() == "my own words"


def test_what_a_student_derives_from(make_trainer: MakeTrainer, make_network: Any, monkeypatch: Any) -> None:
    """A name of the Hub is a link; a folder of this machine is its last part."""
    link, local = "[`me/backbone`](https://huggingface.co/me/backbone)", "a local model called “net” (ResNetFor"
    for name, base, told in [("me/backbone", "me/backbone", link), ("/home/me/net", None, local)]:
        network = make_network(seed=3)
        network.config._name_or_path = network.name_or_path = name
        trainer = make_trainer(model=ExRepForImageClassification.from_backbone(network), **KD)
        trainer.create_model_card()
        card = ModelCard.load(Path(str(trainer.args.output_dir)) / "README.md")
        assert card.data.base_model == base and told in card.text and "/home" not in card.content
