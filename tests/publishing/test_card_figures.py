"""Figures in cards: written, merged, taken over."""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, metadata_load

from exrep_hf.publishing.card_figures import keep_entries, merge_into_card, model_index, write_eval_results
from exrep_hf.publishing.claims import read_claims
from tests.publishing.test_claims import FIGURES, card

KIND = "image-classification"


def results_of(path: Path) -> list[dict[str, Any]]:
    metadata: Any = metadata_load(path)
    return metadata["model-index"][0]["results"]


def test_figures_of_others_stay(tmp_path: Path) -> None:
    """Ours are replaced by ours; another data set, split, metric, or source is somebody else's."""
    source: dict[str, Any] = {"source_url": "https://example.com", "source_name": "Example"}
    others = [
        EvalResult(KIND, "me/images", "Images", "accuracy", 0.1, dataset_split="validation"),
        EvalResult(KIND, "you/images", "Images", "accuracy", 0.2, dataset_split="test"),
        EvalResult(KIND, "me/images", "Images", "accuracy", 0.4, dataset_split="test", **source),
        EvalResult(KIND, "me/images", "Images", "f1", 0.3, dataset_split="test", **source),
        # As other tools write it: without our mark.
        EvalResult(KIND, "me/images", "Images", "accuracy", 0.6, dataset_split="test", dataset_revision="abc"),
    ]
    card(others).save(tmp_path / "README.md")
    before = results_of(tmp_path / "README.md")
    for accuracy in (0.9, 0.95):
        figures = FIGURES | {"accuracy": accuracy}
        merge_into_card(tmp_path / "README.md", "student", model_index("me/images", "test", figures, 450, "me/images"))
    entries = results_of(tmp_path / "README.md")
    assert entries[:-1] == before
    assert [metric["value"] for metric in entries[-1]["metrics"]] == [0.95, 0.99, 0.02]
    assert "Text that stays." in (tmp_path / "README.md").read_text()


def test_a_card_without_figures_gets_some(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# student\n")
    merge_into_card(tmp_path / "README.md", "student", model_index("me/images", "test", FIGURES, 450, "me/images"))
    assert {claim.value for claim in read_claims(tmp_path)} == {0.9, 0.99, 0.02}


def test_entries_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / ".eval_results" / "images.yaml"
    path.parent.mkdir()
    other = {"dataset": {"id": "me/images", "task_id": "robustness"}, "value": 12.5, "notes": "somebody's"}
    same = {"dataset": {"id": "me/images", "task_id": "accuracy"}, "value": 0.7, "unknown": 1}
    same |= {"notes": "split test; tolerance 0.002", "source": {"url": "https://example.com", "user": "other"}}
    path.write_text(yaml.safe_dump([other, same]))
    for accuracy in (0.9, 0.8):
        write_eval_results(tmp_path, "me/images", "test", FIGURES | {"accuracy": accuracy}, 450)
    entries = yaml.safe_load(path.read_text())
    assert entries[:2] == [other, same] and [entry["value"] for entry in entries[2:]] == [0.8, 0.99, 0.02]


def test_figures_of_an_earlier_card_are_taken_over(tmp_path: Path) -> None:
    """Those of others and of other data sets once; ours are not doubled, whatever their value was."""
    (tmp_path / "earlier").mkdir()
    ours = model_index("me/images", "test", FIGURES, 450, "me/images")
    earlier = [
        *model_index("me/images", "test", FIGURES | {"accuracy": 0.5}, 450, "me/images"),
        *model_index("me/more", "test", FIGURES, 450, "me/more"),
        EvalResult(KIND, "me/images", "Images", "f1", 0.3, dataset_split="validation"),
    ]
    card(earlier).save(tmp_path / "earlier" / "README.md")
    path = tmp_path / "README.md"
    card(ours).save(path)
    own = results_of(path)
    assert keep_entries(path, tmp_path / "earlier" / "README.md")
    entries = results_of(path)
    assert entries[: len(own)] == own
    assert [(entry["dataset"]["type"], [metric["type"] for metric in entry["metrics"]]) for entry in entries[1:]] == [
        ("me/more", ["accuracy", "top5_accuracy", "expected_calibration_error"]),
        ("me/images", ["f1"]),
    ]
    assert "Text that stays." in path.read_text()
    # The figure of somebody with a source stays beside ours for the same images.
    source: dict[str, Any] = {"source_url": "https://example.com", "source_name": "Example"}
    card([EvalResult(KIND, "me/images", "Images", "accuracy", 0.4, dataset_split="test", **source)]).save(
        tmp_path / "earlier" / "sourced.md"
    )
    assert keep_entries(path, tmp_path / "earlier" / "sourced.md")
    assert results_of(path)[:-1] == entries and "source" in results_of(path)[-1]
    content = path.read_bytes()
    assert not keep_entries(path, tmp_path / "earlier" / "README.md") and path.read_bytes() == content
