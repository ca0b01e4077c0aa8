"""What cards say."""

import os
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData

from exrep_hf.publishing.teacher_card import PublishedFacts, published_facts
from tests.hub_server import Hub


def card(value: float | None) -> ModelCard:
    results = [EvalResult("image-classification", "me/images", "Images", "f1", 0.1)]
    if value is not None:
        results.append(EvalResult("image-classification", "me/images", "Images", "accuracy", value))
    data = ModelCardData(license="mit", model_name="x", eval_results=results, ignore_metadata_errors=False)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n# x\n")


@pytest.mark.parametrize(("value", "top1"), [(0.83, 0.83), (83.0, 0.83), (None, None)])
def test_a_card_in_a_folder(value: float | None, top1: float | None, tmp_path: Path) -> None:
    """Some cards give a share, some percent."""
    card(value).save(tmp_path / "README.md")
    assert published_facts(str(tmp_path)) == PublishedFacts("mit", top1)


def test_a_card_on_the_hub(hub: Hub) -> None:
    HfApi().create_repo("me/with-card")
    card(0.5).push_to_hub("me/with-card")
    assert published_facts("me/with-card") == PublishedFacts("mit", 0.5)


def test_several_licences(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n")
    assert published_facts(str(tmp_path)).license == "mit, apache-2.0"


def test_no_card(tmp_path: Path, hub: Hub) -> None:
    """It is a help, not a condition."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "README.md").write_text("---\n: [\n---\n")
    for name in (str(tmp_path), "me/no-such-model", str(tmp_path / "broken")):
        assert published_facts(name) == PublishedFacts()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 10**400])
def test_figures_that_are_none(value: float, tmp_path: Path) -> None:
    card(value).save(tmp_path / "README.md")
    assert published_facts(str(tmp_path)) == PublishedFacts("mit", None)


def test_hostile_cards(tmp_path: Path) -> None:
    """A teacher's card comes from anywhere: it must neither stop a study nor take its memory."""
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: {a: [mit]}\n1: 2\n---\n")
    assert published_facts(str(tmp_path)) == PublishedFacts()
    path.write_text("---\nlicense: {a: [mit]}\n---\n")
    assert published_facts(str(tmp_path)) == PublishedFacts()
    path.write_text("---\na: &a [*a]\n---\n")
    assert published_facts(str(tmp_path)) == PublishedFacts()
    path.unlink()
    os.mkfifo(path)
    assert published_facts(str(tmp_path)) == PublishedFacts()
