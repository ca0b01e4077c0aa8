"""The settings that a card publishes: whoever takes them gets the same student."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from exrep_hf.cli import parse_settings
from exrep_hf.publishing.recipe import RECIPE_NAME, make_recipe
from exrep_hf.study import Study

SHIPPED = sorted((Path(__file__).parents[2] / "model_cards").glob(f"*/{RECIPE_NAME}"))
TERMS = ("ce", "kd", "feature", "crd", "adversarial")


def test_replayed(published: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Figure by figure, by the card's own command; it runs on a CPU here, where steps are the same to the bit."""
    folder, results = published
    text = (folder / "README.md").read_text()
    [command] = [line.strip() for line in text.splitlines() if line.startswith("    exrep train")]
    assert command == "exrep train --config recipe.yaml --output_dir out"
    flags = command.replace(RECIPE_NAME, str(folder / RECIPE_NAME)).replace(" out", f" {tmp_path / 'again'}").split()
    again = Study(parse_settings([*flags[2:], "--disable_tqdm"], "digits")).run()
    for figure in ("accuracy", "top5_accuracy", "expected_calibration_error", "per_class", "loss"):
        assert again["published"][figure] == results["published"][figure], figure
    told, before = again["configuration"], results["configuration"]
    assert (told["model"], told["data"]) == (before["model"], before["data"])
    # What was chosen stands there now.
    chosen = {"feature_weight": 0.0, "mix_rounds": 1}
    assert told["training"] == before["training"] | chosen and again["code"] == results["code"]


def test_what_is_in_it(results: dict[str, Any], tmp_path: Path) -> None:
    """No name that means something on another machine alone, no place, no repository; and which arms there were."""
    results["configuration"] = {
        "model": {"teacher": "my_teacher", "other_teachers": ["me/teacher"], "student": "timm/resnet18"},
        "data": {"dataset": "me/images", "other_datasets": ["me/more"], "data_dir": "small", "extra_images": "noise"},
        "study": {"push_code": True},
        # transformers turns pinning off by itself where there is no GPU.
        "training": {
            "kd_weight": 2.0,
            "preset": "kd",
            "hub_model_id": "me/x",
            "save_strategy": "no",
            "dataloader_pin_memory": False,
        },
    }
    results["processes"], results["code"] = 2, {"commit": "abcdef0123", "changed": False, "url": None}
    recipe = make_recipe(results)
    assert recipe.settings == {
        "student": "timm/resnet18",
        "dataset": ["me/images", "me/more"],
        "data_dir": "small",
        "push_code": True,
        "kd_weight": 2.0,
        "save_strategy": "no",
        "distiller": "light",
        "arm": "exrep",
        "controls": ["kd"],
        "license": "apache-2.0",
    }
    assert recipe.command == (
        "accelerate launch --num_processes 2 -m exrep_hf train --config recipe.yaml "
        "--teacher path/to/my_teacher me/teacher --extra_images path/to/noise --output_dir out"
    )
    recipe.write(tmp_path)
    first, second, *_ = (tmp_path / RECIPE_NAME).read_text().splitlines()
    assert first == f"# exrep train {recipe.command.split(' train ')[1]}" and "at commit abcdef0123" in second
    assert yaml.safe_load((tmp_path / RECIPE_NAME).read_text()) == recipe.settings
    results["configuration"]["data"] = {"dataset": "fashion_mnist", "data_dir": "fashion-mnist"}
    results["arms"] = {"exrep": results["arms"]["exrep"]}
    own = {"class": "my_losses:Mine", "weight": 1.0}
    results["configuration"]["training"]["terms"] = {"mine": own}
    recipe = make_recipe(results)
    assert recipe.settings["dataset"] == "fashion_mnist" and "data_dir" not in recipe.settings
    # Code of one's own is imported by a flag alone.
    assert recipe.settings["controls"] == "none" and recipe.command.endswith("--output_dir out --allow_code")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_recipes_are_read(path: Path, tmp_path: Path) -> None:
    """By today's command line, with the arms of the run."""
    results = json.loads((path.parent / "results.json").read_text())
    given = [part for name, value in make_recipe(results).flags[:-1] for part in (f"--{name}", *value.split())]
    settings = parse_settings(["--config", str(path), *given, "--output_dir", str(tmp_path / "out")], "digits")
    assert [*(settings.study.controls or {}), settings.study.arm] == list(results["arms"])
    # None: chosen with the teacher, which gives features here.
    with_weights = {term for term in TERMS if getattr(settings.training, f"{term}_weight") != 0}
    assert with_weights == results["arms"][settings.study.arm]["objective"]["terms"].keys()
    assert settings.model.distiller == (results["arms"][settings.study.arm]["distiller"] or "none")
    assert settings.training.max_steps == results["arms"][settings.study.arm]["runs"][0]["steps"]
