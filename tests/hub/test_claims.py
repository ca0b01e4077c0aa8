"""Figures in cards: written, merged, read."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load

from exrep_hf.hub.claims import Claim, hub_name, merge_into_card, model_index, read_claims, write_eval_results

FIGURES: dict[str, Any] = {"accuracy": 0.9, "top5_accuracy": 0.99, "expected_calibration_error": 0.02, "loss": 1.0}


def card(results: list[EvalResult]) -> ModelCard:
    data = ModelCardData(model_name="student", license="mit", eval_results=results, ignore_metadata_errors=False)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n# student\n\nText that stays.\n")


def results_of(path: Path) -> list[dict[str, Any]]:
    metadata: Any = metadata_load(path)
    return metadata["model-index"][0]["results"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Both forms, with the tolerance that each states."""
    card(model_index("fashion_mnist", "test", FIGURES, "zalando-datasets/fashion_mnist")).save(tmp_path / "README.md")
    path = write_eval_results(tmp_path, "zalando-datasets/fashion_mnist", "test", FIGURES)
    assert path == tmp_path / ".eval_results" / "fashion_mnist.yaml"
    name = "zalando-datasets/fashion_mnist"
    tolerances = {"accuracy": 0.002, "top5_accuracy": 0.002, "expected_calibration_error": 0.005}
    expected = {
        Claim(place, name, "test", metric, FIGURES[metric], tolerance)
        for place in ("model-index", ".eval_results/fashion_mnist.yaml")
        for metric, tolerance in tolerances.items()
    }
    assert set(read_claims(tmp_path)) == expected


def test_names_on_the_hub() -> None:
    """The Hub's file names benchmarks by their repositories; a folder of one's own is none."""
    assert hub_name("my_images") is None and hub_name("me/images") == "me/images"
    assert hub_name("fashion_mnist") == "zalando-datasets/fashion_mnist"


@pytest.mark.parametrize("stated", [9.0, float("inf"), -1.0])
def test_a_card_does_not_excuse_itself(stated: float, tmp_path: Path) -> None:
    """Tampering with a figure and with what it may differ by would go unnoticed."""
    kind = "image-classification"
    claim = EvalResult(kind, "me/images", "Images", "accuracy", 0.99, metric_args={"tolerance": stated})
    card([claim]).save(tmp_path / "README.md")
    assert [claim.tolerance for claim in read_claims(tmp_path)] == [0.002 if stated > 0 else 0.0]


def test_entries_that_the_hub_passes_over_are_refused(tmp_path: Path) -> None:
    card([]).save(tmp_path / "README.md")
    (tmp_path / ".eval_results").mkdir()
    entry = {"dataset": {"id": "me/images", "task_id": "accuracy"}, "value": 0.999, "error": "x"}
    (tmp_path / ".eval_results" / "images.yaml").write_text(yaml.safe_dump([entry]))
    with pytest.raises(ValueError, match="an entry of images.yaml is marked as an error"):
        read_claims(tmp_path)


def test_figures_of_others_stay(tmp_path: Path) -> None:
    """Ours are replaced by ours; another data set, split, metric, or source is somebody else's."""
    kind = "image-classification"
    source: dict[str, Any] = {"source_url": "https://example.com", "source_name": "Example"}
    others = [
        EvalResult(kind, "me/images", "Images", "accuracy", 0.1, dataset_split="validation"),
        EvalResult(kind, "you/images", "Images", "accuracy", 0.2, dataset_split="test"),
        EvalResult(kind, "me/images", "Images", "accuracy", 0.4, dataset_split="test", **source),
        EvalResult(kind, "me/images", "Images", "f1", 0.3, dataset_split="test", **source),
        # As other tools write it: without our mark.
        EvalResult(kind, "me/images", "Images", "accuracy", 0.6, dataset_split="test", dataset_revision="abc"),
    ]
    card(others).save(tmp_path / "README.md")
    before = results_of(tmp_path / "README.md")
    for accuracy in (0.9, 0.95):
        figures = FIGURES | {"accuracy": accuracy}
        merge_into_card(tmp_path / "README.md", "student", model_index("me/images", "test", figures, "me/images"))
    entries = results_of(tmp_path / "README.md")
    assert entries[:-1] == before
    assert [metric["value"] for metric in entries[-1]["metrics"]] == [0.95, 0.99, 0.02]
    assert "Text that stays." in (tmp_path / "README.md").read_text()


def test_a_card_without_figures_gets_some(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# student\n")
    merge_into_card(tmp_path / "README.md", "student", model_index("me/images", "test", FIGURES, "me/images"))
    assert {claim.value for claim in read_claims(tmp_path)} == {0.9, 0.99, 0.02}


def test_entries_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / ".eval_results" / "images.yaml"
    path.parent.mkdir()
    other = {"dataset": {"id": "me/images", "task_id": "robustness"}, "value": 12.5, "notes": "somebody's"}
    same = {"dataset": {"id": "me/images", "task_id": "accuracy"}, "value": 0.7, "unknown": 1}
    same |= {"notes": "split test; tolerance 0.002", "source": {"url": "https://example.com", "user": "other"}}
    path.write_text(yaml.safe_dump([other, same]))
    for accuracy in (0.9, 0.8):
        write_eval_results(tmp_path, "me/images", "test", FIGURES | {"accuracy": accuracy})
    entries = yaml.safe_load(path.read_text())
    assert entries[:2] == [other, same] and [entry["value"] for entry in entries[2:]] == [0.8, 0.99, 0.02]


def test_unreadable_claims_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="The claims of .* can't be read"):
        read_claims(tmp_path)
    card([EvalResult("image-classification", "me/images", "Images", "accuracy", "ninety")]).save(
        tmp_path / "README.md"
    )
    with pytest.raises(ValueError, match="can't be read .*ninety"):
        read_claims(tmp_path)
