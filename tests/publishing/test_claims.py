"""Figures in cards: read."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from scipy.stats import binom

from exrep_hf.publishing.card_figures import model_index, write_eval_results
from exrep_hf.publishing.claims import Claim, hub_name, images_by_rounding, read_claims, tolerance
from exrep_hf.publishing.verify import Verdict

FIGURES: dict[str, Any] = {"accuracy": 0.9, "top5_accuracy": 0.99, "expected_calibration_error": 0.02, "loss": 1.0}


def card(results: list[EvalResult]) -> ModelCard:
    data = ModelCardData(model_name="student", license="mit", eval_results=results, ignore_metadata_errors=False)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n# student\n\nText that stays.\n")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Both forms, with the tolerance that each states."""
    card(model_index("fashion_mnist", "test", FIGURES, 450, "zalando-datasets/fashion_mnist")).save(
        tmp_path / "README.md"
    )
    path = write_eval_results(tmp_path, "zalando-datasets/fashion_mnist", "test", FIGURES, 450)
    assert path == tmp_path / ".eval_results" / "fashion_mnist.yaml"
    name = "zalando-datasets/fashion_mnist"
    tolerances = {"accuracy": 0.0023, "top5_accuracy": 0.0023, "expected_calibration_error": 0.0053}
    expected = {
        Claim(place, name, None, "test", metric, FIGURES[metric], tolerance)
        for place in ("model-index", ".eval_results/fashion_mnist.yaml")
        for metric, tolerance in tolerances.items()
    }
    assert set(read_claims(tmp_path)) == expected


def test_names_on_the_hub() -> None:
    """The Hub's file names benchmarks by their repositories; a folder of one's own is none."""
    assert hub_name("my_images") is None and hub_name("me/images") == "me/images"
    # Tar archives lie here, and no folder has the name of their pattern.
    assert hub_name("shards/{train,val}-{000..146}.tar") is None
    assert hub_name("fashion_mnist") == "zalando-datasets/fashion_mnist"


@pytest.mark.parametrize("stated", [9.0, float("inf"), -1.0])
def test_a_card_does_not_excuse_itself(stated: float, tmp_path: Path) -> None:
    """Tampering with a figure and with what it may differ by would go unnoticed."""
    kind = "image-classification"
    claim = EvalResult(kind, "me/images", "Images", "accuracy", 0.99, metric_args={"tolerance": stated})
    card([claim]).save(tmp_path / "README.md")
    [found] = read_claims(tmp_path)
    assert Verdict(found, 0.99, None, 450).allowed == (0.0023 if stated > 0 else 0.0)


@pytest.mark.parametrize(
    ("num_images", "images", "allowed"),
    [(40, 0, 0.0001), (450, 1, 0.0023), (10_000, 11, 0.0011), (50_000, 40, 0.0008), (0, 0, 0.0001)],
)
def test_the_tolerance_follows_the_number_of_images(num_images: int, images: int, allowed: float) -> None:
    """A near tie in 2 000 images: of few none is expected, and one of 450 already is 0.2 points."""
    assert images_by_rounding(num_images) == images and tolerance("accuracy", num_images) == allowed
    assert tolerance("expected_calibration_error", num_images) == pytest.approx(0.003 + allowed)
    assert tolerance("loss", num_images) == 0
    # More are decided by rounding in at most 3 of 100 repetitions.
    assert num_images == 0 or binom.sf(images, num_images, 5e-4) < 0.03


def test_entries_that_the_hub_passes_over_are_refused(tmp_path: Path) -> None:
    card([]).save(tmp_path / "README.md")
    (tmp_path / ".eval_results").mkdir()
    entry = {"dataset": {"id": "me/images", "task_id": "accuracy"}, "value": 0.999, "error": "x"}
    (tmp_path / ".eval_results" / "images.yaml").write_text(yaml.safe_dump([entry]))
    with pytest.raises(ValueError, match="an entry of images.yaml is marked as an error"):
        read_claims(tmp_path)


def test_unreadable_claims_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="The claims of .* can't be read"):
        read_claims(tmp_path)
    card([EvalResult("image-classification", "me/images", "Images", "accuracy", "ninety")]).save(
        tmp_path / "README.md"
    )
    with pytest.raises(ValueError, match="can't be read .*ninety"):
        read_claims(tmp_path)
    card([]).save(tmp_path / "README.md")
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results" / "images.yaml").write_text("dataset: {id: me/images}")
    with pytest.raises(ValueError, match="The claims of .* can't be read"):
        read_claims(tmp_path)


def test_what_notes_and_revisions_say(tmp_path: Path) -> None:
    """A split may have a dot in its name, and a number one behind it."""
    kind = "image-classification"
    card([EvalResult(kind, "me/images", "Images", "accuracy", 0.9, dataset_revision="abc")]).save(
        tmp_path / "README.md"
    )
    (tmp_path / ".eval_results").mkdir()
    entry = {"dataset": {"id": "me/images", "task_id": "accuracy"}, "value": 0.9}
    entry |= {"notes": "Split test: split test.clean, tolerance 0.001."}
    (tmp_path / ".eval_results" / "images.yaml").write_text(yaml.safe_dump([entry]))
    first, second = read_claims(tmp_path)
    assert (first.revision, first.split, second.split, second.tolerance) == ("abc", None, "test.clean", 0.001)
