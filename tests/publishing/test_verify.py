"""What a card claims is measured again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import EvalResult, HfApi, ModelCard, snapshot_download
from transformers import AutoModelForImageClassification

from exrep_hf.arguments import EvaluationArguments
from exrep_hf.data import load_images
from exrep_hf.publishing.evaluate_student import evaluate_student, push_figures
from exrep_hf.publishing.student import push_student
from exrep_hf.publishing.verify import card_notes, verdict_table, verify_card
from tests.hub_server import Hub
from tests.processes import Processes

ROOT = Path(__file__).parents[2]
Finished = tuple[Path, dict[str, Any]]


def tamper(folder: Path, change: Any) -> None:
    card = ModelCard.load(folder / "README.md")
    change(card.data)
    card.save(folder / "README.md")


def test_verified(published: Finished, hub: Hub) -> None:
    """Locally and from the Hub: every figure of the card is measured again."""
    folder, _ = published
    push_student(folder, "me/verified")
    for name in (str(folder), "me/verified"):
        verdicts = verify_card(name)
        # Of the model-index, and of the results that the card is made from.
        assert len(verdicts) == 6 and all(verdict.holds for verdict in verdicts)
    assert [row[-1] for row in verdict_table(verdicts)] == ["verdict", *["holds"] * 6]


@pytest.mark.parametrize("metric", ["accuracy", "top5_accuracy", "expected_calibration_error"])
def test_tampering_is_found(metric: str, published: Finished, tmp_path: Path) -> None:
    """One figure, a hundredth better than it is."""
    folder = tmp_path / "tampered"
    shutil.copytree(published[0], folder)

    def better(data: Any) -> None:
        for result in data.eval_results:
            if result.metric_type == metric:
                result.metric_value += 0.01

    tamper(folder, better)
    broken = [verdict.claim.metric for verdict in verify_card(str(folder)) if not verdict.holds]
    assert broken == [metric]


def test_tampered_weights_are_found(published: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(published[0], folder)
    model = AutoModelForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1)
    model.save_pretrained(folder)
    assert not all(verdict.holds for verdict in verify_card(str(folder)))


def test_tampered_results_are_found(published: Finished, tmp_path: Path) -> None:
    """The card's text is made from them."""
    folder = tmp_path / "better"
    shutil.copytree(published[0], folder)
    results = json.loads((folder / "results.json").read_text())
    results["published"]["accuracy"] += 0.01
    (folder / "results.json").write_text(json.dumps(results))
    broken = [verdict.claim for verdict in verify_card(str(folder)) if not verdict.holds]
    # The text gives the figure that it was.
    assert [(claim.place, claim.metric) for claim in broken] == [
        ("results.json", "accuracy"),
        ("README.md", "a sentence"),
    ]


def test_a_tampered_text_is_found(published: Finished, tmp_path: Path) -> None:
    """People read the table, not the metadata; what it says of others than these weights nobody measures here."""
    folder, _ = published
    [about_arms, about_costs, about_classes] = card_notes(str(folder))
    assert "not measured here: top-1 %, gap recovered %, parameters, MACs/image of 'teacher'" in about_arms
    assert "images a second of" in about_costs and "class, top-1 %, images of" in about_classes
    bent = tmp_path / "bent"
    shutil.copytree(folder, bent)
    card = (bent / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| teacher | "))
    figure = row.split(" | ")[1]
    assert card.count(row) == 1
    (bent / "README.md").write_text(card.replace(row, row.replace(figure, "12.3", 1)) + "\nAlso 99 % elsewhere.\n")
    [broken] = [verdict for verdict in verify_card(str(bent)) if not verdict.holds]
    told = f"the text says '12.3'; `results.json` gives '{figure}'"
    assert verdict_table([broken])[1] == ("README.md", "digits", "'teacher', 'top-1 %'", "12.3000", "–", told)
    assert "not made from results.json: Also 99 % elsewhere." in card_notes(str(bent))


def test_claims_that_cant_be_checked_don_t_hold(published: Finished, tmp_path: Path) -> None:
    """A claim about images that are not available, or a figure that is not ours, is not proven by others."""
    folder = tmp_path / "more"
    shutil.copytree(published[0], folder)
    kind = "image-classification"
    extra = [
        EvalResult(kind, "you/absent", "Absent", "accuracy", 0.9),
        EvalResult(kind, "digits", "digits", "accuracy", 0.9, dataset_split="exam"),
        EvalResult(kind, "digits", "digits", "per_class", 0.9, dataset_split="part of test"),
    ]
    tamper(folder, lambda data: data.eval_results.extend(extra))
    reasons = {str(verdict.claim.split): verdict.reason for verdict in verify_card(str(folder)) if not verdict.holds}
    expected = {"None": "'you/absent'", "exam": "`split` is 'exam'", "part of test": "a figure that is not measured"}
    assert reasons.keys() == expected.keys()
    assert [told for split, told in expected.items() if told not in str(reasons[split])] == []
    with pytest.raises(ValueError, match=r"A place is given for \['flowers'\]; the card speaks of .*'digits'"):
        verify_card(str(folder), places={"flowers": str(tmp_path)})
    tamper(folder, lambda data: setattr(data, "eval_results", None))
    with pytest.raises(ValueError, match="claims nothing"):
        verify_card(str(folder))
    shutil.copy(published[0] / "README.md", folder)
    for content in ("{}", "[]", '{"dataset": {}}', "half of", None):
        if content is None:
            (folder / "results.json").unlink()
        else:
            (folder / "results.json").write_text(content)
        with pytest.raises(ValueError, match="has no readable `results.json`"):
            verify_card(str(folder))


def test_figures_of_other_images_are_verified(published: Finished, hub: Hub, tmp_path: Path) -> None:
    """What `evaluate_student.py` added, each on its own images: another split, a data set on the Hub, a local one."""
    folder, _ = published
    push_student(folder, "me/elsewhere")
    digits = load_images("digits")["test"].select(range(60))
    digits.to_parquet(tmp_path / "mine" / "test.parquet")
    HfApi().create_repo("me/sixty", repo_type="dataset")
    HfApi().upload_file(
        path_or_fileobj=tmp_path / "mine" / "test.parquet",
        path_in_repo="data/test-00000-of-00001.parquet",
        repo_id="me/sixty",
        repo_type="dataset",
    )
    for dataset, split in (("digits", "train"), ("me/sixty", "test"), (str(tmp_path / "mine"), "test")):
        args = EvaluationArguments("me/elsewhere", dataset, split, use_cpu=True, push_to_hub=True)
        push_figures(args, evaluate_student(args))
    verdicts = verify_card("me/elsewhere", places={"mine": str(tmp_path / "mine")})
    assert all(verdict.holds for verdict in verdicts), verdict_table(verdicts)
    # Three of the study and of its results, three of each data set, and those of the Hub's also in `.eval_results`.
    assert len(verdicts) == 6 + 3 * 3 + 3
    without_place = [verdict.claim.dataset for verdict in verify_card("me/elsewhere") if not verdict.holds]
    assert without_place == ["mine"] * 3
    there = Path(snapshot_download("me/elsewhere", local_dir=tmp_path / "bent"))
    tamper(there, lambda data: setattr(data.eval_results[3], "metric_value", 0.5))
    broken = [
        each.claim for each in verify_card(str(there), places={"mine": str(tmp_path / "mine")}) if not each.holds
    ]
    assert [claim.split for claim in broken] == ["train"]


def test_other_images_than_the_card_speaks_of(published: Finished, tmp_path: Path) -> None:
    """Training images passed off as a part of `test`, or the easiest image of all for the whole."""
    folder = tmp_path / "bent"
    shutil.copytree(published[0], folder)
    results = json.loads((folder / "results.json").read_text())
    assert results["dataset"]["part"] == "part of test" and results["dataset"]["split"] is None
    results["configuration"]["data"] |= {"test_split": "train", "max_eval_samples": 40}
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"claims \(images, split, part\) .*'part of test'.* give .*'part of train'"):
        verify_card(str(folder))
    shutil.copy(published[0] / "results.json", folder)
    # A claim that names no split is about a whole one: 40 images are not enough for it.

    def without_split(data: Any) -> None:
        for result in data.eval_results:
            result.dataset_split = None

    tamper(folder, without_split)
    verdicts = verify_card(str(folder))
    assert {verdict.measured for verdict in verdicts[:3]}.isdisjoint({verdict.measured for verdict in verdicts[3:]})


def test_names_of_classes_that_are_exchanged(tmp_path: Path) -> None:
    """A student that calls each 0 a 1 is wrong for all who ask it, whatever it is by numbers."""
    folder = tmp_path / "exchanged"
    shutil.copytree(ROOT / "model_cards" / "digits_plain", folder)
    config = json.loads((folder / "config.json").read_text())
    names = config["label_names"]
    names[0], names[1] = names[1], names[0]
    (folder / "config.json").write_text(json.dumps(config))
    assert AutoModelForImageClassification.from_pretrained(folder).config.id2label[0] == "1"
    assert not any(verdict.holds for verdict in verify_card(str(folder)) if verdict.claim.metric == "accuracy")


def test_results_that_contradict_themselves(published: Finished, tmp_path: Path) -> None:
    """An easier selection of images, or another data set, than the card speaks of."""
    folder = tmp_path / "bent"
    shutil.copytree(published[0], folder)
    results = json.loads((folder / "results.json").read_text())
    for part, changes in (("configuration", {"max_eval_samples": 10}), ("dataset", {"name": "imagenet-1k"})):
        bent = json.loads(json.dumps(results))
        (bent["configuration"]["data"] if part == "configuration" else bent["dataset"]).update(changes)
        (folder / "results.json").write_text(json.dumps(bent))
        with pytest.raises(ValueError, match="It contradicts itself"):
            verify_card(str(folder))


def test_recipes(published: Finished, hub: Hub, tmp_path: Path, processes: Processes) -> None:
    """The README's lines: evaluate, and verify, which ends with a code that scripts see."""
    folder, _ = published
    output = tmp_path / "figures.json"
    evaluate = ["--model", str(folder), "--dataset", "digits", "--split", "test", "--use_cpu", "--output", str(output)]
    done = processes.call("recipes/evaluate_student.py", *evaluate)
    assert done.returncode == 0 and "worst classes:" in done.stdout, done.stderr[-2000:]
    assert json.loads(output.read_text())["num_images"] == 450
    done = processes.call("recipes/verify_card.py", str(folder), "--use_cpu")
    assert done.returncode == 0 and "6 of 6 figures reproduced" in done.stdout, done.stderr[-2000:]
    assert "README.md: as in results.json, and not measured here: top-1 %" in done.stdout
    tampered = tmp_path / "tampered"
    shutil.copytree(folder, tampered)
    tamper(tampered, lambda data: setattr(data.eval_results[0], "metric_value", 0.99))
    done = processes.call("recipes/verify_card.py", str(tampered), "--use_cpu")
    assert done.returncode == 1 and "differs by more than 0.0001" in done.stdout
    text = (folder / "README.md").read_text()
    start = text.index("|  | top-1 %")
    (tampered / "README.md").write_text(text[:start] + text[text.index("\n\n", start) :])
    done = processes.call("recipes/verify_card.py", str(tampered), "--use_cpu")
    assert done.returncode == 1 and "is missing in the text; `results.json` gives" in done.stdout
    assert "6 of 7 figures reproduced" in done.stdout
