"""Recipes that take days are run for two steps: the same code, small networks of the same families, a few JPEGs."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import timm
from timm.models import save_for_hf

from exrep_hf.models import load_classifier
from tests.image_folders import write_noise
from tests.processes import ROOT

CLASSES = ("ant", "bee", "cat")
SHORT = (
    "--max_steps 2 --per_device_train_batch_size 4 --per_device_eval_batch_size 4 --num_seeds 1 --image_size 64 "
    "--use_cpu --dataloader_num_workers 0 --logging_steps 1 --save_strategy no --eval_strategy no --disable_tqdm true "
    "--no_doctor"
).split()
FEW_PUBLIC = ("--num_public", "9", "--student_steps", "1")
RECIPES = {
    "imagenet_b1_from_b1ns": (),
    "imagenet_b1_from_b1ns_paper": ("--distiller", "light", "--num_negatives", "8"),
    "imagenet_resnet50_from_dinov3": ("--teacher", "headless"),
    "imagenette": ("--dataset_config_name", ""),
    "cifar10": ("--teacher", "headless", "--report_to", "none", *FEW_PUBLIC),
    "own_folder": ("--teacher", "headless", "--student_steps", "1"),
}
"""What is run otherwise here: the paper's distiller takes minutes a step, and the images are a few."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated photographs, in folders and in tar shards, and networks of random weights."""
    folder = tmp_path_factory.mktemp("imagenet")
    write_noise(folder / "folders", ("train", "val"), CLASSES, 8, (70, 90))
    (folder / "shards").mkdir()
    for part in ("train", "val"):
        with tarfile.open(folder / "shards" / f"{part}-000.tar", "w") as shard:
            for number, name in enumerate(CLASSES):
                for path in sorted((folder / "folders" / part / name).glob("*.jpg")):
                    label = path.with_suffix(".cls")
                    label.write_text(str(number))
                    for file in (path, label):
                        shard.add(file, f"{name}{path.stem}{file.suffix}")
                    label.unlink()
    for name in ("teacher", "student"):
        classifier = load_classifier("timm/test_efficientnet", id2label=dict(enumerate(CLASSES)), pretrained=False)
        classifier.save_pretrained(folder / name)
    save_for_hf(
        timm.create_model("test_vit", num_classes=0, img_size=64), str(folder / "headless"), safe_serialization=True
    )
    return folder


def call(workplace: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=workplace, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def train(workplace: Path, recipe: str, *flags: str, dataset: str = "folders") -> dict[str, object]:
    """Run a recipe under other names, and return its results."""
    config, out = str(ROOT / "recipes" / f"{recipe}.yaml"), f"out/{recipe}-{dataset}"
    names = ["--dataset", dataset, "--teacher", "teacher", "--student", "student", "--output_dir", out]
    call(workplace, "-m", "exrep_hf", "train", "--config", config, *names, *SHORT, *flags)
    results: dict[str, object] = json.loads((workplace / out / "results.json").read_text())
    return results


def test_the_papers_task(workplace: Path) -> None:
    """By our default: the method and its controls."""
    results = train(workplace, "imagenet_b1_from_b1ns")
    assert isinstance(results["arms"], dict) and list(results["arms"]) == ["ce", "kd", "exrep"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "imagenet_b1_from_b1ns"])
def test_recipes(recipe: str, workplace: Path) -> None:
    """Each with its own settings, as its header says."""
    results = train(workplace, recipe, *RECIPES[recipe])
    assert isinstance(results["arms"], dict) and results["arms"]


@pytest.mark.slow
def test_from_shards(workplace: Path) -> None:
    """ImageNet's other form."""
    train(workplace, "imagenet_b1_from_b1ns", "--classes", "position", dataset="shards/{train,val}-000.tar")


@pytest.mark.slow
def test_from_stored_answers(workplace: Path) -> None:
    """Both lines of the header: the teacher is asked once, and is not there in training."""
    config = str(ROOT / "recipes" / "imagenet_b1_from_l2ns_cached.yaml")
    data = ["--config", config, "--dataset", "folders", "--image_size", "64", "--use_cpu", "--teacher", "teacher"]
    call(workplace, "-m", "exrep_hf", "cache", *data, "--output_dir", "cache/l2")
    names = ["--student", "student", "--teacher_cache", "cache/l2", "--output_dir", "out/cached"]
    call(workplace, "-m", "exrep_hf", "train", *data, *names, *[flag for flag in SHORT if flag not in data])
    assert "exrep" in json.loads((workplace / "out/cached/results.json").read_text())["arms"]


@pytest.mark.slow
def test_the_papers_table(workplace: Path) -> None:
    """Two models, and again: what is finished is not run again."""
    script, where = str(ROOT / "recipes" / "imagenet_b0_to_b4.py"), ["--output_dir", "out/table"]
    names = ["--dataset", "folders", "--teacher", "teacher", "--student", "student", "--models", "b0", "b1"]
    first = call(workplace, script, *names, *where, *SHORT)
    assert [line.split()[0] for line in first.splitlines() if line.startswith(("b0", "b1"))] == ["b0"] * 3 + ["b1"] * 3
    again = call(workplace, script, *names, *where, *SHORT)
    assert again.count("is finished already") == 6
