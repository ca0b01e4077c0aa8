"""No false alarm on any shipped recipe or card."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.models import save_for_hf

from exrep_hf.cli import parse_settings
from exrep_hf.data import Preprocessing
from exrep_hf.doctor import as_text
from exrep_hf.models import load_classifier
from exrep_hf.study.examination import examine_study
from tests.processes import ROOT

CLASSES = ("ant", "bee", "cat")
_COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))
# Networks of the tests in place of those of the recipe, and a step that has as many of the few images as its own has
# of many; neither lengths nor weights, which are looked at.
SMALL = (
    "--dataset images --student student --image_size 64 --per_device_train_batch_size 4 --use_cpu "
    "--per_device_eval_batch_size 32 --dataloader_num_workers 0"
).split()
TAUGHT, HEADLESS = ("--teacher", "teacher"), ("--teacher", "headless")
RECIPES = {
    "imagenet_b1_from_b1ns": TAUGHT,
    "imagenet_b1_from_b1ns_paper": (*TAUGHT, "--distiller", "light", "--num_negatives", "8"),
    "imagenet_b1_from_l2ns_cached": TAUGHT,
    "imagenet_resnet50_from_dinov3": HEADLESS,
    "imagenet_teacher": (*HEADLESS, "--data_dir", "", "--num_public", "60", "--controls", "none"),
    "imagenette": (*TAUGHT, "--dataset_config_name", ""),
    "cifar10": (*HEADLESS, "--num_public", "60", "--report_to", "none"),
    "own_folder": HEADLESS,
}


def write_colours(folder: Path, count: int) -> None:
    """Images of noise, each class of another colour."""
    rng = np.random.default_rng(0)
    for name, colour in zip(CLASSES, _COLOURS, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = rng.normal(0, 40, (64, 64, 3)) + colour
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.jpg")


def save_trained(folder: Path, images: Path, seed: int) -> None:
    """A network of timm that knows these classes."""
    torch.manual_seed(seed)
    model: Any = load_classifier("timm/test_efficientnet", id2label=dict(enumerate(CLASSES)), pretrained=False)
    preprocessing = Preprocessing.from_model(model)
    paths = sorted(images.glob("*/*.jpg"))
    pixels = torch.stack([preprocessing.normalised(preprocessing.pixels(Image.open(path))) for path in paths])
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(15):
        part = torch.randint(len(labels), (32,))
        F.cross_entropy(model(pixels[part]).logits, labels[part]).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a teacher, a student and a headless teacher that know them."""
    folder = tmp_path_factory.mktemp("recipes")
    write_colours(folder / "images" / "train", 40)
    write_colours(folder / "images" / "val", 8)
    for seed, name in enumerate(("teacher", "student")):
        save_trained(folder / name, folder / "images" / "train", seed)
    headless = timm.create_model("test_vit", num_classes=0, img_size=64)
    save_for_hf(headless, str(folder / "headless"), safe_serialization=True)
    return folder


def alarms(*flags: str) -> list[str]:
    findings = examine_study(parse_settings(flags, "digits"))
    print(as_text(findings))
    return [f"{each.level}: {each.what}" for each in findings if each.level != "fine"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their own weights, lengths and controls."""
    monkeypatch.chdir(workplace)
    assert alarms("--config", str(ROOT / "recipes" / f"{recipe}.yaml"), *SMALL, *RECIPES[recipe]) == []


DIGITS = ("--config", "digits", "--use_cpu")
FASHION = ("--config", "recipes/fashion_mnist.yaml", "--use_cpu", "--controls", "none")
TRAINED = ("--config", "recipes/fashion_mnist_teacher.yaml", "--use_cpu")
TRIALS = ("--config", "recipes/trials.yaml", "--use_cpu", "--controls", "none")
CARD = ("--student_from_scratch", "false", "--student_steps", "0")
TEACHER = ("--teacher_from_scratch", "false", "--teacher_steps", "0")
FASHION_CARD = "model_cards/fashion_mnist"
PLAIN = "model_cards/digits_plain"
has_images = pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="no Fashion-MNIST")


@pytest.mark.parametrize(
    "flags",
    [
        DIGITS,
        (*DIGITS, "--student", PLAIN, *CARD),
        (*DIGITS, "--teacher", PLAIN, *TEACHER, "--student", PLAIN, *CARD),
        pytest.param(FASHION, marks=[has_images, pytest.mark.slow]),
        pytest.param(TRAINED, marks=[has_images, pytest.mark.slow]),
        pytest.param(TRIALS, marks=[has_images, pytest.mark.slow]),
        pytest.param((*FASHION, "--student", FASHION_CARD, *CARD), marks=[has_images, pytest.mark.slow]),
    ],
)
def test_demo_and_cards(flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As they are: the demo, and students and teachers with a card."""
    monkeypatch.chdir(ROOT)
    assert alarms(*flags, "--output_dir", str(tmp_path / "out")) == []
