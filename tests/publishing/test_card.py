"""The card, read back by the Hub's own reader."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from exrep_hf.publishing import make_model_card


def read_back(results: dict[str, Any], tmp_path: Path, name: str = "me/digits-student") -> ModelCard:
    path = tmp_path / "README.md"
    make_model_card(results, name).save(path)
    return ModelCard.load(path)


def test_metadata(results: dict[str, Any], tmp_path: Path) -> None:
    """Without these fields the Hub finds the model under no task, teacher family or licence."""
    results["student"]["from_scratch"] = False
    results["dataset"]["hub_name"] = "me/digits"
    data: Any = read_back(results, tmp_path).data
    assert data.base_model == "timm/resnet18"
    assert data.datasets == ["me/digits"]
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "image-classification"
    assert data.library_name == "transformers"
    assert data.eval_results is not None
    claims = {(claim.metric_type, claim.metric_value, claim.dataset_split) for claim in data.eval_results}
    assert claims == {
        ("accuracy", 0.85, "test"),
        ("top5_accuracy", 1.0, "test"),
        ("expected_calibration_error", 0.031, "test"),
    }
    assert data.base_model_relation == "finetune"


def test_what_was_chosen_for_the_run(results: dict[str, Any], tmp_path: Path) -> None:
    """A learning rate that follows from the run stands in no settings, and nobody could repeat the figure."""
    assert "This run took" not in read_back(results, tmp_path).text
    chosen = {"learning_rate": 0.01, "freeze_batch_norm": False, "max_steps": 1500}
    results["arms"]["exrep"]["runs"][0] |= {"chosen": chosen, "steps": 1500}
    told = "This run took: learning rate 0.01, 1500 steps, BatchNorm statistics free."
    assert told in read_back(results, tmp_path).text


def test_every_arm_stands_beside_the_claim(results: dict[str, Any], tmp_path: Path) -> None:
    """A number without its controls is not to be believed."""
    text = read_back(results, tmp_path).text
    for row in (
        "| teacher | 90.0 |",
        "| student before | 80.0 ± 0.0 |",
        "| kd | 84.0 ± 1.0 | 50.0 ± 2.5 |",
        "| exrep, distiller removed | 41.0 ± 0.0 |",
    ):
        assert row in text
    assert "trained from scratch" in text
    assert "100 public training images; 900 more are private, and the student never saw them" in text
    assert 'pipeline("image-classification", model="me/digits-student")  # or' in text


def test_the_snippet_fits_the_model(results: dict[str, Any], tmp_path: Path) -> None:
    """Only a model with a distiller needs exrep_hf to load."""
    assert "import exrep_hf" in read_back(results, tmp_path).text
    results["published"] |= {"arm": "kd", "variant": "plain"}
    assert "import exrep_hf" not in read_back(results, tmp_path).text


def test_a_removed_distiller_is_named(results: dict[str, Any], tmp_path: Path) -> None:
    """Readers have to know which row the weights belong to, and where the distiller went."""
    assert "with_distiller" not in read_back(results, tmp_path).text
    results["arms"]["exrep"]["plain"] = True
    results["published"]["variant"] = "both"
    text = read_back(results, tmp_path).text
    assert 'the row "exrep, distiller removed"' in text and "sub-folder `with_distiller`" in text
    assert "import exrep_hf" not in text


def test_nothing_is_claimed_that_is_not_known(results: dict[str, Any], tmp_path: Path) -> None:
    """Without a licence or a teacher the card says so, and its metadata stay silent."""
    results["license"] = results["teacher"] = None
    card = read_back(results, tmp_path)
    assert "not given by the author" in card.text
    assert "distilled from" not in card.text and "trained with labels alone, without a teacher" in card.text
    assert "license" not in yaml.safe_load(card.content.split("---")[1])


@pytest.mark.parametrize(("name", "from_scratch"), [("timm/resnet18", True), ("my_folder", False)])
def test_no_base_model_that_there_is_not(
    name: str, from_scratch: bool, results: dict[str, Any], tmp_path: Path
) -> None:
    """An architecture is no model to derive from, and a folder of this machine none that the Hub knows."""
    results["student"] |= {"name": name, "from_scratch": from_scratch}
    data: Any = read_back(results, tmp_path).data
    assert data.base_model is None and data.get("base_model_relation") is None


def test_what_a_reader_needs_to_judge(results: dict[str, Any], tmp_path: Path) -> None:
    """Cost with and without the distiller, calibration, weak classes, the command, and how to check all of it."""
    text = read_back(results, tmp_path).text
    for part in (
        "| student without distiller | 1.00 M | 5.00 M | 200 |",
        "| student with its `light` distiller | 1.23 M | 2.00 G | 100 |",
        "15 bins: 0.031",
        "| 0 | 80.0 | 45 |",
        "    exrep train --config recipe.yaml --output_dir out\n",
        "`exrep verify me/digits-student`",
        "Top-1 may differ by 0.0023 on these 450 images: rounding on another machine decides 1 image",
    ):
        assert part in text, part
    assert "| 9 | 89.0 | 45 |" not in text


def test_results_of_older_runs(results: dict[str, Any], tmp_path: Path) -> None:
    """A card never claims what the results don't hold."""
    for name in ("bins", "per_class", "expected_calibration_error"):
        del results["published"][name]
    results["command"] = None
    card = read_back(results, tmp_path)
    assert "Calibration" not in card.text and "Weak spots" not in card.text and "None" not in card.text
    data: Any = card.data
    assert {claim.metric_type for claim in data.eval_results} == {"accuracy", "top5_accuracy"}
